"""Tables that can be read at any width: where not all columns fit, the less important ones go, and then rows stack."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

KEPT = 3
"""So many columns are always shown."""
BETWEEN = 3
AROUND = 2


class Fitted:
    """A table for a console of any width.

    Parameters
    ----------
    columns
        Titles; one that begins with ``>`` holds numbers.
    rows
        Cells, as console markup.
    dropped_first
        Titles in the order in which they go where not all fit; what is not named stays.
    """

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[str]], dropped_first: Sequence[str]) -> None:
        self._titles = [column.removeprefix(">") for column in columns]
        self._right = [column.startswith(">") for column in columns]
        self._rows, self._dropped_first = rows, dropped_first

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "Iterator[RenderableType]":
        from rich.text import Text

        widths = [
            max(len(title), *(Text.from_markup(row[index]).cell_len for row in self._rows))
            if self._rows
            else len(title)
            for index, title in enumerate(self._titles)
        ]
        shown = list(range(len(self._titles)))
        dropped = [self._titles.index(title) for title in self._dropped_first if title in self._titles]
        while dropped and len(shown) > KEPT and _width(widths, shown) > options.max_width:
            shown.remove(dropped.pop(0))
        if _width(widths, shown) > options.max_width:
            yield from self._stacked()
            return
        yield self._table(shown)
        if hidden := [title for index, title in enumerate(self._titles) if index not in shown]:
            yield Text(f"not shown at this width: {', '.join(hidden)}", style="dim")

    def _table(self, shown: Sequence[int]) -> "RenderableType":
        from rich import box
        from rich.table import Table

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for index in shown:
            table.add_column(self._titles[index], justify="right" if self._right[index] else "left", no_wrap=True)
        for row in self._rows:
            table.add_row(*(row[index] for index in shown))
        return table

    def _stacked(self) -> "Iterator[RenderableType]":
        """Yield each row as lines of a title and a cell; a long cell goes on on the next line."""
        from rich.text import Text

        width = max(map(len, self._titles))
        for row in self._rows:
            yield Text()
            for title, cell in zip(self._titles, row, strict=True):
                yield Text.from_markup(f"{title:<{width}}  {cell}", overflow="fold")


def _width(widths: Sequence[int], shown: Sequence[int]) -> int:
    return sum(widths[index] for index in shown) + BETWEEN * (len(shown) - 1) + AROUND
