"""Detect the format of a log from its path."""

import zipfile
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from records.errors import WrongConfiguration
from replay.evaluation.logs.looks import HEAD_BYTES, looks_like, members_of

_PACKED = ("", ".gz", ".xz", ".bz2", ".zst", ".zip")
_JSON = tuple(f"{suffix}{packed}" for suffix in (".jsonl", ".ndjson", ".json") for packed in _PACKED)
TEXT = tuple(f"{suffix}{packed}" for suffix in (".csv", ".tsv", ".txt") for packed in _PACKED)
"""How the names of tables end that are text."""
_TABLES = (".parquet", ".arrow", ".feather", ".ipc")
_AFFINITY = b"user-item_affinity_"


class Format(StrEnum):
    """What a log is written in."""

    BOWERBIRD = "bowerbird"
    JSON_LINES = "json-lines"
    OPEN_BANDIT = "open-bandit"
    TABLE = "table"
    KAFKA = "kafka"


def format_of(path: str) -> Format:
    """Return the format of a path.

    A folder or a URL is an archive, unless what lies in the folder says otherwise; a ``.toml`` names the settings of a
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
        return Format.BOWERBIRD
    place = Path(path)
    if place.is_dir():
        return _of_folder(place)
    name = name_of(place)
    if name.endswith(_JSON):
        return Format.JSON_LINES
    if name.endswith(_TABLES):
        return Format.TABLE
    if name.endswith(TEXT):
        return Format.OPEN_BANDIT if _is_open_bandit(place) else Format.TABLE
    if path.endswith(".toml"):
        return Format.KAFKA
    if not place.exists():
        raise WrongConfiguration(f"{path}: found nothing there, expected a log")
    if not place.is_file():
        raise WrongConfiguration(f"{path}: found what is no file, expected a log")
    with place.open("rb") as file:
        looks = looks_like(file.read(HEAD_BYTES))
    if looks is not None:
        raise WrongConfiguration(f"{path}: found {looks}")
    raise WrongConfiguration(
        f"{path}: found a name that has no known suffix, expected --format, and for a table as text a "
        "name that ends with .csv, .tsv or .txt"
    )


def name_of(path: Path) -> str:
    """Return the name that says what a file is: of ``shown.zip`` with ``log.csv`` in it, ``log.csv.zip``."""
    if path.suffix == ".zip" and not path.name.endswith((*_JSON, *TEXT)):
        with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
            if len(members := members_of(archive)) == 1:
                return f"{Path(members[0]).name}.zip"
    return path.name


def _of_folder(folder: Path) -> Format:
    names = [each.name for each in folder.iterdir()]
    if _is_archive(folder):
        return Format.BOWERBIRD
    below = folder / "archive"
    if below.is_dir() and _is_archive(below):
        raise WrongConfiguration(f"{folder}: found a folder with an archive in it, expected the archive: name {below}")
    if any(name.endswith(TEXT) for name in names):
        return Format.OPEN_BANDIT
    return Format.TABLE if any(folder.rglob("*.parquet")) else Format.BOWERBIRD


def _is_archive(folder: Path) -> bool:
    return any(each.name.startswith("_") and each.name.endswith("log.json") for each in folder.iterdir())


def _is_open_bandit(file: Path) -> bool:
    from replay.evaluation.logs.chunk import silent
    from replay.evaluation.logs.opened import opened

    with opened(file, silent, "a CSV file, whole, in UTF-8") as content:
        return _AFFINITY in content.read(2**20).split(b"\n", 1)[0]
