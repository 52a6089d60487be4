"""Outcomes as the archive has them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import pyarrow.compute as pc

from archive.names import Piece
from archive.reader import Archive
from records.errors import StateRefused
from replay.evaluation.logs.ahead import read_ahead
from replay.evaluation.logs.chunk import Progress
from replay.evaluation.logs.outcome_source import NUMBERS, OutcomeBatch


class ArchivedOutcomes:
    """The outcomes of an archive, in the order of partition and offset."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def may_have_lists(self) -> bool:
        """See :class:`replay.evaluation.logs.outcome_source.Outcomes`."""
        return any(self._most_places(piece) > 1 for piece in self._archive.pieces("rewards"))

    def _most_places(self, piece: Piece) -> int:
        """Return the largest number of places in a file, from its footer if that has it."""
        if (most := self._archive.most(piece, "places")) is not None:
            return most
        batches = self._archive.batches("rewards", ["places"], [piece])
        return max((pc.max(batch.column("places")).as_py() or 1 for batch in batches), default=1)

    def batches(self, columns: Sequence[str], progress: Progress, first_row: int = 0) -> Iterator[OutcomeBatch]:
        """Yield all outcomes; files that lie before ``first_row`` are read as far as needed.

        Raises
        ------
        StateRefused
            A file is damaged.
        """
        pieces = self._archive.pieces("rewards")
        begins: dict[int, int] = {}
        for piece in pieces:
            begins.setdefault(piece.file.partition, piece.start)
        total = sum(piece.file.last - piece.start + 1 for piece in pieces)
        passed = 0
        for piece in pieces:
            rows = self._archive.rows(piece) if first_row > 0 else 0
            # Of a file that overlaps with another one, fewer rows are read than it has.
            read = NUMBERS if 0 < rows <= first_row else columns
            for batch in read_ahead(self._archive.batches("rewards", read, [piece], encoded=True)):
                yield OutcomeBatch(batch, _File(piece.file.path), begins[piece.file.partition] > 0)
                first_row -= batch.num_rows
                if batch.num_rows:
                    progress(passed + batch.column("offset")[-1].as_py() - piece.start + 1, total)
            passed += piece.file.last - piece.start + 1


class _File(NamedTuple):
    path: str

    def where(self, offset: int) -> str:
        return f"{self.path}, offset {offset}"

    def bad(self, column: str, offset: int, found: str, expected: str) -> StateRefused:
        where = f"{column} in archive file {self.where(offset)}"
        return StateRefused(where, found, expected, "bring the file back from a copy")
