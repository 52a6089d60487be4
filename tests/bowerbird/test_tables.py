"""Tables at any width: nothing that is shown is cut."""

from io import StringIO

import pytest
from rich.console import Console

from bowerbird.commands.tables import Fitted
from stream.config import Config
from tests.bowerbird.test_alarms import backlog, policy, shown_at, status
from tests.serving import served, tables

COLUMNS = ("policy", "version", ">examples", "digest", "published")
ROWS = [
    ("front", "67-ba65e60d", "[bold]1,200[/]", "ba65e60d", "2026-11-29 08:58:21 UTC"),
    ("a-policy-with-a-long-name", "1234567-00c0ffee", "1,200,000", "00c0ffee", "2026-11-29 08:58:21 UTC"),
]


def printed(width: int) -> str:
    console = Console(width=width, file=StringIO(), record=True)
    console.print(Fitted(COLUMNS, ROWS, ("digest", "published")))
    return console.export_text()


@pytest.mark.parametrize(
    ("width", "hidden"), [(120, []), (95, []), (94, ["digest"]), (84, ["digest"]), (80, ["digest", "published"])]
)
def test_the_less_important_columns_go_first(width: int, hidden: list[str]) -> None:
    text = printed(width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for title, cells in zip(COLUMNS, zip(*ROWS, strict=True), strict=True):
        name = title.removeprefix(">")
        assert all((cell in text) is (name not in hidden) for cell in cells if "[" not in cell and "-" in cell)
    assert (f"not shown at this width: {', '.join(hidden)}" in text) is bool(hidden)


def test_rows_stack_where_nothing_else_helps() -> None:
    text = printed(40)
    assert max(map(len, text.splitlines())) <= 40
    for row in ROWS:
        assert row[0] in text
        assert row[1] in text
    assert "version    67-ba65e60d" in text


def test_the_status_at_80_columns() -> None:
    config = Config(**tables({"recommendations": served()}))
    seen = status(
        policies=[policy(name="recommendations", version="12345-0a1b2c3d", decisions=1_234_567, outcomes=1_234_567)],
        backlogs=[backlog("decide", messages=1_234_567, topic="decision-requests", growth_per_s=1200.0)],
    )
    text = shown_at(80, config, seen)
    assert max(map(len, text.splitlines())) <= 80
    for part in ("recommendations", "12345-0a1b2c3d", "learning", "0.1200", "decide", "1,234,567", "grows by 1,200"):
        assert part in text
