"""SIGTERM at any moment of a role's work, under other load, and while servers are away."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from embedded.servers import EmbeddedKafka, EmbeddedRedis
from tests.away import ALL, SERVERS, Away, ends_in, late
from tests.ends import End, ends
from tests.real.network import seen_through_a_network

TIMES = 3
SOME = [
    Away("running", "swallow", ("kafka",)),
    Away("running", "refuse", SERVERS),
    Away("starting", "swallow", SERVERS),
    Away("held", "swallow", SERVERS),
]


@pytest.mark.slow
async def test_every_role_ends_within_two_seconds() -> None:
    """A few ends of each role; ``make torture`` and ``python -m tests.ends`` do fifty."""
    for _ in range(2):
        ended = await ends(times=TIMES, loaded=1, seed=secrets.randbelow(10_000))
        assert len(ended) == 4 * TIMES
        assert [end for end in ended if end.code != 0] == []
        # What hangs hangs again; what is late because others compute is not.
        if not late(ended):
            return
    assert late(ended) == []


async def test_every_role_and_a_client_end_within_two_seconds_whatever_is_away(
    own_kafka: Callable[..., EmbeddedKafka], redis_server: EmbeddedRedis, tmp_path: Path
) -> None:
    """Some situations; with BOWERBIRD_LONG=1, as in ``make torture``, all of them."""
    kafka, seen = seen_through_a_network(own_kafka)
    hung: dict[Away, list[End]] = {}
    for case in ALL if "BOWERBIRD_LONG" in os.environ else SOME:
        # What hangs hangs again; what is late because others compute is not.
        if late(await ends_in(case, kafka, seen, redis_server, str(tmp_path))):
            hung[case] = late(await ends_in(case, kafka, seen, redis_server, str(tmp_path)))
    assert {case: hanging for case, hanging in hung.items() if hanging} == {}
