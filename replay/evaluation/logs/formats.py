"""Detect the format of a log from its path."""

import zipfile
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from archive.names import ARCHIVE_SCHEMES
from records.errors import WrongConfiguration, shorten
from replay.evaluation.logs.first_bytes import HEAD_BYTES, looks_like, members_of

_PACKED = ("", ".gz", ".xz", ".bz2", ".zst", ".zip")
_JSON = tuple(f"{suffix}{packed}" for suffix in (".jsonl", ".ndjson", ".json") for packed in _PACKED)
TEXT = tuple(f"{suffix}{packed}" for suffix in (".csv", ".tsv", ".txt") for packed in _PACKED)
"""How the names of tables end that are text."""
_TABLES = (".parquet", ".arrow", ".feather", ".ipc")
_AFFINITY = b"user-item_affinity_"
_LAKES = (
    ("_delta_log", "a Delta table", "COPY (FROM delta_scan('PATH')) TO 'log.parquet' in DuckDB"),
    ("metadata/*.metadata.json", "an Iceberg table", "COPY (FROM iceberg_scan('PATH')) TO 'log.parquet' in DuckDB"),
    (".hoodie", "a Hudi table", "spark.read.format('hudi').load('PATH').write.parquet('log') in Spark"),
)
"""Files that mark a folder as a table of rows and more: their name, the kind of table, and what exports it."""


class Format(StrEnum):
    """The format of a log, and how the names of its files end, where they decide it.

    A format is opened by the module of its name in ``bowerbird/log_formats/``.
    """

    suffixes: tuple[str, ...]

    def __new__(cls, value: str, suffixes: tuple[str, ...] = ()) -> "Format":
        """Make a format of its name."""
        made = str.__new__(cls, value)
        made._value_, made.suffixes = value, suffixes
        return made

    BOWERBIRD = "bowerbird"
    JSON_LINES = "json-lines", _JSON
    OPEN_BANDIT = "open-bandit"
    TABLE = "table", (*_TABLES, *TEXT)
    KAFKA = "kafka", (".toml",)


def format_of(path: str) -> Format:
    """Return the format of a path.

    A folder or a URL is an archive, unless its files say otherwise; a ``.toml`` names the settings of a
    service whose Kafka is read.

    Raises
    ------
    WrongConfiguration
        The format is unknown.

    Examples
    --------
    >>> format_of("outcomes.jsonl.gz"), format_of("s3://bucket/archive"), format_of("bowerbird.toml")
    (<Format.JSON_LINES: 'json-lines'>, <Format.BOWERBIRD: 'bowerbird'>, <Format.KAFKA: 'kafka'>)
    """
    if "://" in path:
        return _of_url(path)
    place = Path(path)
    if place.is_dir():
        return _of_folder(place)
    name = name_of(place)
    if name.endswith(TEXT) and _is_open_bandit(place):
        return Format.OPEN_BANDIT
    for each in Format:
        if name.endswith(each.suffixes):
            return each
    if not place.exists():
        raise WrongConfiguration(f"{path}: found nothing there, expected a log")
    if not place.is_file():
        raise WrongConfiguration(f"{path}: found what is no file, expected a log")
    if (looks := _looks(place)) is not None:
        raise WrongConfiguration(f"{path}: found {looks}")
    raise WrongConfiguration(
        f"{path}: found a name that has no known suffix, expected --format, and for a table as text a "
        "name that ends with .csv, .tsv or .txt"
    )


def name_of(path: Path) -> str:
    """Return the name that says what a file is, in lower case: of ``shown.zip`` with ``log.csv``, ``log.csv.zip``."""
    name = path.name.lower()
    if name.endswith(".zip") and not name.endswith((*_JSON, *TEXT)):
        with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            if len(members := members_of(archive)) == 1:
                return f"{Path(members[0]).name.lower()}.zip"
    return name


def _of_url(url: str) -> Format:
    # Never the URL itself: it may hold a key.
    scheme, _, rest = url.partition("://")
    expected = f"a path, or the URL of an archive ({', '.join(ARCHIVE_SCHEMES)}): download the log, and name the file"
    if scheme not in ARCHIVE_SCHEMES:
        raise WrongConfiguration(f"log: found a URL of {scheme}://, expected {expected}")
    if rest.lower().endswith((*_JSON, *_TABLES, *TEXT)):
        raise WrongConfiguration(f"log: found the URL of a file, expected {expected}")
    return Format.BOWERBIRD


def _of_folder(folder: Path) -> Format:
    names = [each.name for each in folder.iterdir()]
    if _is_archive(folder):
        return Format.BOWERBIRD
    below = folder / "archive"
    if below.is_dir() and _is_archive(below):
        raise WrongConfiguration(f"{folder}: found a folder with an archive in it, expected the archive: name {below}")
    names = sorted(name for name in names if not _is_hidden(name))
    texts = [name for name in names if name.lower().endswith(TEXT) and (folder / name).is_file()]
    if texts and (any("item_context" in name for name in names) or _is_open_bandit(folder / texts[0])):
        return Format.OPEN_BANDIT
    if parquet_in(folder):
        return Format.TABLE
    for suffixes, kind in ((TEXT, "tables as text"), (_JSON, "JSON"), (_TABLES, "Arrow")):
        if some := [name for name in names if name.lower().endswith(suffixes)]:
            expected = "one file, or a folder of Parquet: write all rows to one file, or name one"
            raise WrongConfiguration(
                f"{folder}: found a folder of {kind} ({shorten(', '.join(some))}), expected {expected}"
            )
    for file in (folder / name for name in names):
        if file.is_file() and not file.suffix and (looks := _looks(file)) is not None:
            raise WrongConfiguration(f"{file}: found {looks}")
    return Format.BOWERBIRD


def _looks(file: Path) -> str | None:
    with file.open("rb") as content:
        return looks_like(content.read(HEAD_BYTES))


def parquet_in(folder: Path) -> list[Path]:
    """Return the Parquet files of the table in a folder, in the order of their names.

    Files and folders whose name begins with ``_`` or ``.`` are not part of a table.

    Raises
    ------
    WrongConfiguration
        It is a table whose current rows are not those of all files.
    """
    for sign, kind, export in _LAKES:
        if any(folder.rglob(sign)):
            expected = f"Parquet files that are the table: export it, as with {export}"
            raise WrongConfiguration(
                f"{folder}: found {kind}, of whose files some are not current, expected {expected}"
            )
    files = (file for file in folder.rglob("*") if file.suffix.lower() == ".parquet" and file.is_file())
    return sorted(file for file in files if not any(map(_is_hidden, file.relative_to(folder).parts)))


def _is_hidden(name: str) -> bool:
    # A folder of a partition may be called _day=1.
    return name.startswith(".") or (name.startswith("_") and "=" not in name)


def _is_archive(folder: Path) -> bool:
    return any(each.name.startswith("_") and each.name.endswith("log.json") for each in folder.iterdir())


def _is_open_bandit(file: Path) -> bool:
    from replay.evaluation.logs.chunk import silent
    from replay.evaluation.logs.opened import opened

    with opened(file, silent, "a CSV file, whole, in UTF-8") as content:
        return _AFFINITY in content.read(2**20).split(b"\n", 1)[0]
