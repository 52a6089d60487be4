"""Reading the archive: tables for people, batches and messages for what computes again from them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from archive.location import ArchivePlace, place_of
from archive.names import Piece, held, log_file, pieces
from archive.rows import MESSAGE_COLUMNS, ArchivedMessage, computed, messages_of
from archive.schema import COMPUTED, REPEATED, SCHEMAS, TOPICS
from records.codec import decode
from records.errors import BadInput, StateRefused, WrongConfiguration, of_disk, shorten
from records.extras import needed_by
from records.log_identity import LogIdentity

if TYPE_CHECKING:
    import polars as pl

BATCH_ROWS = 10_000
BUFFER_BYTES = 2**20
"""So much of a column is read at a time; a file is never in memory as a whole."""
HASHED = ("user_id", "event_id")
"""What is hashed, in files that are older than the columns of hashes."""
ACTION_ID = "actions.list.element.id"
"""The ids of the actions, as Parquet calls what lies within a list."""
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
        place = place_of(url)
        if place.local is not None and place.local.is_file():
            raise WrongConfiguration(f"archive: found the file {url}, expected a folder, or the URL of an object store")
        archive = cls(place, prefix)
        if archive.log is None:
            local = archive._place.local
            below = local / "archive" if local is not None else None
            there = below is not None and (below / log_file(prefix)).is_file()
            raise WrongConfiguration(
                f"archive: found no {log_file(prefix)} in {archive._place.root}, expected an archive: "
                + (f"name {below}" if there else "name the folder that archive.url names")
            )
        return archive

    @property
    def log(self) -> str | None:
        """Which log this is a copy of; None if there is no archive.

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

    def rows(self, piece: Piece) -> int:
        """Return the number of rows of a file; another file may hold some of them too.

        Raises
        ------
        StateRefused
            It is damaged.
        """
        return int(self._footer(piece).num_rows)

    def most(self, piece: Piece, column: str) -> int | None:
        """Return the largest number in a column of a file, by its footer; None if that does not say.

        Raises
        ------
        StateRefused
            It is damaged.
        """
        footer = self._footer(piece)
        groups = [footer.row_group(number) for number in range(footer.num_row_groups)]
        columns = [group.column(number) for group in groups for number in range(group.num_columns)]
        known = [each.statistics for each in columns if each.path_in_schema == column]
        if len(known) < len(groups) or not all(each is not None and each.has_min_max for each in known):
            return None
        return max((int(each.max) for each in known), default=None)

    def _footer(self, piece: Piece) -> "pq.FileMetaData":
        try:
            with self._place.system.open_input_file(self._place.path(piece.file.path)) as stream:
                return pq.read_metadata(stream)
        except (pa.ArrowException, OSError) as error:
            raise self._damaged(piece.file.path, _found(error)) from error

    def batches(
        self,
        topic: str,
        columns: Sequence[str] | None = None,
        only: Sequence[Piece] | None = None,
        encoded: bool = False,
    ) -> "Iterator[pa.RecordBatch]":
        """Yield the rows of a topic in the order of partition, offset and index, each once, in bounded memory.

        Parameters
        ----------
        columns
            Default: all but :data:`UNREAD`.
        only
            Of these files; default: of all.
        encoded
            Texts that repeat stay dictionaries, and of actions only their ids are read: several times as fast.

        Raises
        ------
        StateRefused
            A file is damaged: the message names it.
        """
        schema = _chosen(topic, columns)
        for piece in self.pieces(topic) if only is None else only:
            yield from self._batches(piece, schema, encoded)

    def table(self, topic: str, columns: Sequence[str] | None = None) -> "pa.Table":
        """Return the rows of a topic as one table; see :meth:`batches`."""
        return pa.Table.from_batches(self.batches(topic, columns), _chosen(topic, columns))

    def lazy(self, topic: str) -> "pl.LazyFrame":
        """Return the rows of a topic as a lazy frame of polars, which reads only what a query needs."""
        with needed_by("a lazy frame", "polars"):
            import polars as pl
        import pyarrow.dataset as ds

        whole = [piece for piece in self.pieces(topic) if piece.start == piece.file.first]
        parts = [piece for piece in self.pieces(topic) if piece.start > piece.file.first]
        schema = SCHEMAS[topic]

        def scan(some: Sequence[Piece]) -> "pl.LazyFrame":
            paths = [self._place.path(piece.file.path) for piece in some]
            return pl.scan_pyarrow_dataset(ds.dataset(paths, schema, format="parquet", filesystem=self._place.system))

        frame = pl.concat([scan(whole), *(scan([piece]).filter(pl.col("offset") >= piece.start) for piece in parts)])
        return frame.with_columns(_computed_lazily(name) for name in COMPUTED if name in schema.names)

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

    def _batches(self, piece: Piece, schema: "pa.Schema", encoded: bool = False) -> "Iterator[pa.RecordBatch]":
        file = piece.file
        needed = list(dict.fromkeys([*schema.names, "offset"]))
        try:
            with self._place.system.open_input_file(self._place.path(file.path)) as stream:
                metadata = pq.read_metadata(stream)
                leaves = {metadata.schema.column(number).path for number in range(metadata.num_columns)}
                there = {leaf.partition(".")[0] for leaf in leaves}
                older = [name for name in needed if name in COMPUTED and name not in there]
                needed = [name for name in needed if name not in older]
                needed += [name for name in HASHED if older and name not in needed]
                if missing := [name for name in needed if name not in there]:
                    raise self._damaged(file.path, f"no column {missing[0]}")
                if encoded and ACTION_ID in leaves:
                    needed = [ACTION_ID if name == "actions" else name for name in needed]
                content = pq.ParquetFile(
                    stream,
                    metadata=metadata,
                    pre_buffer=False,
                    buffer_size=BUFFER_BYTES,
                    read_dictionary=sorted(leaves.intersection([*REPEATED, ACTION_ID])) if encoded else None,
                )
                for batch in content.iter_batches(BATCH_ROWS, columns=needed):
                    offsets = batch.column("offset")
                    low, high = (pc.min_max(offsets)[which].as_py() for which in ("min", "max"))
                    if low is None or low < file.first or high > file.last:
                        raise self._damaged(file.path, f"rows with the offsets {low} to {high}")
                    if low < piece.start:
                        batch = batch.filter(pc.greater_equal(offsets, piece.start))
                    for name in older:
                        hashes = computed(name, *(batch.column(hashed) for hashed in HASHED))
                        batch = batch.append_column(name, hashes)
                    batch = batch.select(schema.names)
                    yield _cast_but_for_texts(batch, schema) if encoded else batch.cast(schema)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise self._damaged(file.path, _found(error)) from error

    def _damaged(self, name: str, found: str) -> StateRefused:
        return StateRefused(
            f"archive file {self._place.path(name)}",
            shorten(" ".join(found.split())),
            "what the archive role wrote under this name",
            "bring it back from a copy, or move it away: then its range is missing",
        )


def _found(error: Exception) -> str:
    """Return what a file is that cannot be read."""
    # Arrow's errors of Parquet are errors of the disk without a number.
    if isinstance(error, OSError) and error.errno is not None:
        return of_disk(error)
    return "bytes that are damaged or cut short"


def _cast_but_for_texts(batch: "pa.RecordBatch", schema: "pa.Schema") -> "pa.RecordBatch":
    columns = []
    for column, field in zip(batch.columns, schema, strict=True):
        is_text = pa.types.is_dictionary(column.type) and column.type.value_type == field.type
        columns.append(column if is_text or field.name == "actions" else column.cast(field.type))
    cast = pa.RecordBatch.from_arrays(columns, names=schema.names)
    # Texts that are no UTF-8 come to light only when somebody looks at them.
    cast.validate(full=True)
    return cast


def _computed_lazily(name: str) -> "pl.Expr":
    """Return a column of hashes: read from the files, or computed for files that are older than the column."""
    import polars as pl

    def of_ids(ids: "pl.Series") -> "pl.Series":
        texts = [ids.struct.field(each).to_arrow() for each in HASHED]
        return pl.Series(values=computed(name, *texts), dtype=pl.UInt64)

    return pl.coalesce(name, pl.struct(HASHED).map_batches(of_ids, pl.UInt64)).alias(name)


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


NUMBERED = ("placement", "shard", "outcome_seq", "revision")
"""What names an outcome. After a crash the log may hold it twice, which is harmless."""


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
