"""Runs the benchmarks and writes their table: ``python -m benchmarks [NAME ...]``."""

import platform
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.row import Row

NAMES = (
    "learning",
    "join",
    "click_to_decision",
    "decide",
    "decide_publishing",
    "load",
    "predict",
    "join_single",
    "recover",
    "publish",
    "memory",
    "archive",
    "up",
    "evaluate",
    "log_describe",
    "estimators_resampled",
    "sums_of_parquet",
    "resamples_of_parquet",
)
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

`make bench` measures all of this in one run and writes this page. Every figure is the median of several repeats,
with the lowest and the highest; a ratio is taken to a peer in the same run. "Others" is how many cores
other processes used meanwhile: on a busy machine latencies mean little, ratios a little more.

"""


def main(names: list[str]) -> int:
    """Run the named benchmarks (all of them: write the page) and return the exit code."""
    if unknown := set(names) - set(NAMES):
        print(f"unknown benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    console = Console()
    rows: list[Row] = []
    for name in names or NAMES:
        with console.status(f"measuring {name}"):
            found = import_module(f"benchmarks.{name}").run()
        rows += found
        for row in found:
            console.print(f"{row.path}: {row.measured} (bar {row.bar}) {_verdict(row)}")
        if not names:
            # After each, so that a run that is broken off leaves what it has measured.
            PAGE.write_text(_page(rows))
    console.print(_table(rows))
    if not names:
        console.print(f"written: {PAGE}")
    return 1 if any(row.met is False for row in rows) else 0


def _verdict(row: Row) -> str:
    return "—" if row.met is None else "met" if row.met else "MISSED"


def _table(rows: list[Row]) -> Table:
    table = Table("path", "peer or limit", "bar", "measured", "", "others", title="Benchmarks")
    for row in rows:
        table.add_row(row.path, row.peer, row.bar, row.measured, _verdict(row), f"{row.others_cpu:.2f}")
    return table


def _page(rows: list[Row]) -> str:
    memory = psutil.virtual_memory().total / 2**30
    machine = f"{psutil.cpu_count()} cores, {memory:.0f} GiB, {platform.machine()}, Python {platform.python_version()}"
    lines = [f"Measured on {datetime.now(UTC):%Y-%m-%d}: {machine}.", ""]
    lines += ["| path | peer or limit | bar | measured | verdict | others (cores) | what bounds it |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for row in rows:
        cells = (row.path, row.peer, row.bar, row.measured, _verdict(row), f"{row.others_cpu:.2f}", row.bound)
        lines.append(f"| {' | '.join(cells)} |")
    return HEAD + "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
