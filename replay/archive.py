"""Reading the archive: tables for people, batches and messages for what computes again from them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from policies.errors import BadInput, StateRefused, WrongConfiguration, shorten
from rewards.archive_names import Piece, held, log_file, pieces
from rewards.archive_place import ArchivePlace, place_of
from rewards.archive_rows import MESSAGE_COLUMNS, SCHEMAS, TOPICS, ArchivedMessage, messages_of
from rewards.records import LogIdentity, decode

if TYPE_CHECKING:
    import polars as pl

BATCH_ROWS = 10_000
BUFFER_BYTES = 2**20
"""So much of a column is read at a time; a file is never in memory as a whole."""
UNREAD = ("key", "raw")
"""Columns that are read only when they are asked for: the bytes of what the others hold."""


class Archive:
    """An archive, as the archive role writes it.

    Parameters
    ----------
    place
        Where it lies; see :meth:`at`.
    prefix
        That of the service whose topics are meant.
    """

    def __init__(self, place: ArchivePlace, prefix: str = "") -> None:
        self._place, self._prefix = place, prefix

    @classmethod
    def at(cls, url: str, prefix: str = "") -> Self:
        """Return the archive in a folder, or at the URL of an object store.

        Raises
        ------
        WrongConfiguration
            There is no archive.
        """
        archive = cls(place_of(url), prefix)
        if archive.log is None:
            raise WrongConfiguration(
                f"archive: found no {log_file(prefix)} in {archive._place.root}, expected an archive: "
                "name the folder that archive.url names"
            )
        return archive

    @property
    def log(self) -> str | None:
        """Which log this is a copy of; None where it is none.

        Raises
        ------
        StateRefused
            The file that tells it is damaged.
        """
        import msgspec

        name = log_file(self._prefix)
        if (content := self._place.read(name)) is None:
            return None
        try:
            return decode(msgspec.json.Decoder(LogIdentity), content).log_id
        except BadInput as error:
            raise self._damaged(name, str(error)) from None

    def pieces(self, topic: str) -> list[Piece]:
        """Return the files of a topic (without the prefix) in log order, and from which offset on each counts."""
        return pieces(self._place.files(self._prefix + topic))

    def held(self, topic: str, partition: int, end: int | None = None) -> tuple[int, int] | None:
        """Return the last range of offsets without a gap that is there and reaches up to ``end``, the end excluded."""
        return held((piece.file for piece in self.pieces(topic) if piece.file.partition == partition), end)

    def batches(
        self, topic: str, columns: Sequence[str] | None = None, only: Sequence[Piece] | None = None
    ) -> "Iterator[pa.RecordBatch]":
        """Yield the rows of a topic in the order of partition, offset and index, each once, in bounded memory.

        Parameters
        ----------
        columns
            Default: all but :data:`UNREAD`.
        only
            Of these files; default: of all.

        Raises
        ------
        StateRefused
            A file is damaged: the message names it.
        """
        schema = _chosen(topic, columns)
        for piece in self.pieces(topic) if only is None else only:
            yield from self._batches(piece, schema)

    def table(self, topic: str, columns: Sequence[str] | None = None) -> "pa.Table":
        """Return the rows of a topic as one table; see :meth:`batches`."""
        return pa.Table.from_batches(self.batches(topic, columns), _chosen(topic, columns))

    def lazy(self, topic: str) -> "pl.LazyFrame":
        """Return the rows of a topic as a lazy frame of polars, which reads only what a query needs."""
        import polars as pl
        import pyarrow.dataset as ds

        whole = [piece for piece in self.pieces(topic) if piece.start == piece.file.first]
        parts = [piece for piece in self.pieces(topic) if piece.start > piece.file.first]
        schema = SCHEMAS[topic]

        def scan(some: Sequence[Piece]) -> "pl.LazyFrame":
            paths = [self._place.path(piece.file.path) for piece in some]
            return pl.scan_pyarrow_dataset(ds.dataset(paths, schema, format="parquet", filesystem=self._place.system))

        return pl.concat([scan(whole), *(scan([piece]).filter(pl.col("offset") >= piece.start) for piece in parts)])

    def messages(self, topic: str, partition: int, start: int, end: int) -> Iterator[ArchivedMessage]:
        """Yield the messages of a partition with offsets from ``start`` up to ``end``, exclusive.

        Raises
        ------
        StateRefused
            A file is damaged: the message names it.
        """
        some = [
            Piece(piece.file, max(piece.start, start))
            for piece in self.pieces(topic)
            if piece.file.partition == partition and piece.file.first < end and piece.file.last >= start
        ]
        rows = self.batches(topic, MESSAGE_COLUMNS, some)
        for message in messages_of(self._prefix + topic, partition, rows):
            if message.offset >= end:
                return
            yield message

    def _batches(self, piece: Piece, schema: "pa.Schema") -> "Iterator[pa.RecordBatch]":
        file = piece.file
        wanted = schema.names if "offset" in schema.names else [*schema.names, "offset"]
        try:
            with (
                self._place.system.open_input_file(self._place.path(file.path)) as stream,
                pq.ParquetFile(stream, pre_buffer=False, buffer_size=BUFFER_BYTES) as content,
            ):
                there = content.schema_arrow
                for name in wanted:
                    if name not in there.names:
                        raise self._damaged(file.path, f"no column {name}")
                for batch in content.iter_batches(BATCH_ROWS, columns=list(wanted)):
                    offsets = batch.column("offset")
                    low, high = (pc.min_max(offsets)[which].as_py() for which in ("min", "max"))
                    if low is None or low < file.first or high > file.last:
                        raise self._damaged(file.path, f"rows with the offsets {low} to {high}")
                    if low < piece.start:
                        batch = batch.filter(pc.greater_equal(offsets, piece.start))
                    yield batch.select(schema.names).cast(schema)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._damaged(file.path, str(error)) from None

    def _damaged(self, name: str, found: str) -> StateRefused:
        return StateRefused(
            f"archive file {self._place.path(name)}",
            shorten(" ".join(found.split())),
            "what the archive role wrote under this name",
            "bring it back from a copy, or move it away: then its range is missing",
        )


def _chosen(topic: str, columns: Sequence[str] | None) -> "pa.Schema":
    if topic not in TOPICS:
        raise WrongConfiguration(f"topic: found {shorten(topic)}, expected one of {', '.join(TOPICS)}")
    schema = SCHEMAS[topic]
    if columns is None:
        columns = [name for name in schema.names if name not in UNREAD]
    if unknown := [name for name in columns if name not in schema.names]:
        raise WrongConfiguration(
            f"columns: found {shorten(', '.join(unknown))}, expected some of {', '.join(schema.names)}"
        )
    return pa.schema([schema.field(name) for name in columns])


def read(
    url: str, topic: str = "rewards", columns: Sequence[str] | None = None, prefix: str = "", lazy: bool = False
) -> "pa.Table | pl.LazyFrame":
    """Return what the archive holds of a topic; see :func:`bowerbird.read`."""
    archive = Archive.at(url, prefix)
    chosen = _chosen(topic, columns)
    if lazy:
        frame = archive.lazy(topic)
        return (_without_repeats_lazily(frame) if topic == "rewards" else frame).select(chosen.names)
    if topic != "rewards":
        return archive.table(topic, chosen.names)
    table = archive.table(topic, list(dict.fromkeys([*chosen.names, *NUMBERED, "problem"])))
    return without_repeats(table).select(chosen.names)


NUMBERED = ("policy", "shard", "seq", "revision")
"""What names an outcome: it may stand in the log again, since a crash repeats (harmlessly)."""


def without_repeats(outcomes: "pa.Table") -> "pa.Table":
    """Return outcomes each once, the first of those with the same number; what is unreadable has none and stays."""
    rows = pa.array(range(len(outcomes)), pa.int64())
    unnumbered = pc.if_else(pc.is_valid(outcomes.column("problem")), rows, -1)
    named = pa.table([*(outcomes.column(name) for name in NUMBERED), unnumbered, rows], [*NUMBERED, "own", "row"])
    first = named.group_by([*NUMBERED, "own"]).aggregate([("row", "min")]).column("row_min")
    return outcomes.take(first.take(pc.sort_indices(first)))


def _without_repeats_lazily(outcomes: "pl.LazyFrame") -> "pl.LazyFrame":
    import polars as pl

    return outcomes.filter(pl.col("problem").is_not_null() | pl.struct(NUMBERED).is_first_distinct())
