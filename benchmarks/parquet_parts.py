"""Cutting a log of Parquet files into parts for several processes, between blocks, wherever the files end."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import pyarrow as pa
import pyarrow.parquet as pq

from replay.evaluation.blocks import BLOCK_ROWS

_BUFFER_BYTES = 2**20
"""So much of a column is read at a time: what is held does not grow with the row groups."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows of a file, from ``first`` on."""

    file: str
    first: int
    rows: int


@dataclass(frozen=True, slots=True)
class Part:
    """Whole blocks of a log, from ``first_block`` on; only the log's last one may be short."""

    first_block: int
    stretches: tuple[Stretch, ...]

    @property
    def rows(self) -> int:
        """How many there are."""
        return sum(stretch.rows for stretch in self.stretches)


def files_with_rows(files: Iterable[str]) -> list[tuple[str, int]]:
    """Return Parquet files with how many rows each holds, as its footer says."""
    found = []
    for file in files:
        with pq.ParquetFile(file) as content:
            found.append((file, content.metadata.num_rows))
    return found


def cut(files: Sequence[tuple[str, int]], parts: int) -> list[Part]:
    """Cut a log into parts.

    Parameters
    ----------
    files
        With how many rows each holds, in the order of the log.
    parts
        How many, of as many blocks each but for one; fewer where there are not so many blocks.

    Examples
    --------
    >>> for part in cut([("a", 100_000), ("b", 50_000)], 2):
    ...     print(part.first_block, [(stretch.file, stretch.first, stretch.rows) for stretch in part.stretches])
    0 [('a', 0, 65536)]
    1 [('a', 65536, 34464), ('b', 0, 50000)]
    """
    begins = [0, *accumulate(rows for _, rows in files)]
    blocks = -(-begins[-1] // BLOCK_ROWS)
    parts = min(parts, blocks)
    firsts = [number * blocks // parts for number in range(parts)] + [blocks]
    found = []
    for first, end in pairwise(firsts):
        stretches = []
        for (file, rows), begin in zip(files, begins, strict=False):
            low, high = max(begin, first * BLOCK_ROWS), min(begin + rows, end * BLOCK_ROWS)
            if low < high:
                stretches.append(Stretch(file, low - begin, high - low))
        found.append(Part(first, tuple(stretches)))
    return found


def read_blocks(part: Part, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
    """Yield the blocks of a part with their places in the log, each column in one piece."""
    block, waiting, held = part.first_block, [], 0
    for batch in _batches(part, columns):
        start = 0
        while start < len(batch):
            piece = batch.slice(start, BLOCK_ROWS - held)
            waiting.append(piece)
            start, held = start + len(piece), held + len(piece)
            if held == BLOCK_ROWS:
                yield block, pa.Table.from_batches(waiting).combine_chunks()
                block, waiting, held = block + 1, [], 0
    if waiting:
        yield block, pa.Table.from_batches(waiting).combine_chunks()


def _batches(part: Part, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    for stretch in part.stretches:
        with pq.ParquetFile(stretch.file, buffer_size=_BUFFER_BYTES, pre_buffer=False) as content:
            sizes = [content.metadata.row_group(number).num_rows for number in range(content.num_row_groups)]
            begins = [0, *accumulate(sizes)]
            end = stretch.first + stretch.rows
            groups = [
                number for number, (low, high) in enumerate(pairwise(begins)) if low < end and high > stretch.first
            ]
            at = begins[groups[0]]
            # Each process reads by one thread: there are as many processes as cores.
            for batch in content.iter_batches(BLOCK_ROWS, row_groups=groups, columns=list(columns), use_threads=False):
                low, high = max(stretch.first, at), min(end, at + len(batch))
                at += len(batch)
                if low < high:
                    yield batch.slice(low - (at - len(batch)), high - low)
