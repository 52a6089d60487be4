"""What `bowerbird send` says of records before it sends them."""

import pytest

from bowerbird.commands.send import warn_of_worthless
from records.rule import Reward, StreamReward
from stream.config import Config
from tests.serving import Served, served, tables

VALUED = served(reward=Reward(streams={"purchases": StreamReward(value=True), "clicks": StreamReward(weight=1.0)}))
WEIGHTED = served(reward=Reward(streams={"purchases": StreamReward(weight=1.0)}))
BODIES = [
    b'{"event_id": "e1"}',
    b'{"event_id": "e2", "value": 0}',
    b'{"event_id": "e3", "activate": true}',
    b"no json",
]


@pytest.mark.parametrize(
    ("policies", "stream", "warned"),
    [
        ({"front": VALUED}, "purchases", True),
        ({"front": VALUED}, "clicks", False),
        ({"front": VALUED}, "views", False),
        ({"front": VALUED, "side": WEIGHTED}, "purchases", False),
    ],
)
def test_records_that_are_worth_nothing_without_a_value_are_counted(
    policies: dict[str, Served], stream: str, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    warn_of_worthless(Config(**tables(policies)), stream, BODIES)
    said = capsys.readouterr().err
    assert said == ("warning: 1 of 4 records have no value: by the settings, each is worth 0\n" if warned else "")
