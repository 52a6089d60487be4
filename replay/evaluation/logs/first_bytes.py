"""What a file looks like by its first bytes, for errors that help."""

import re
import zipfile

import msgspec

HEAD_BYTES = 4096
MOST_NAMES = 6
"""Fields that an error names."""
_MAGIC = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook: unpack it, or save the sheet as CSV"),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook: save the sheet as CSV"),
    (b"\x1f\x8b", "gzip: its name must end with .gz"),
    (b"\xfd7zXZ\x00", "xz: its name must end with .xz"),
    (b"BZh", "bzip2: its name must end with .bz2"),
    (b"\x28\xb5\x2f\xfd", "zstd: its name must end with .zst"),
    (b"PAR1", "Parquet: its name must end with .parquet"),
    (b"FEA1", "Feather of version 1: read it with pandas.read_feather, and save it as Parquet"),
    (b"ARROW1", "Arrow: its name must end with .arrow"),
    (b"\x93NUMPY", "an array of numpy: a log has named columns, an array can be a --target"),
    (b"SQLite format 3", "a SQLite database: export the table as CSV or Parquet"),
    (b"\x80\x04", "a Python pickle, which is never loaded: save the table as Parquet"),
    (b"\x80\x05", "a Python pickle, which is never loaded: save the table as Parquet"),
)

_VW = re.compile(rb"((ccb |slates )?shared\s*\||\d+:-?[\d.e+-]+:[\d.e+-]+\s[^\n]*\|)")
"""The label of an action in Vowpal Wabbit's text is ACTION:COST:PROBABILITY."""

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def looks_like(head: bytes) -> str | None:
    """Return what the first bytes of a file look like, and what to do about it; None: text, or unknown.

    Examples
    --------
    >>> looks_like(b"PAR1...")
    'Parquet: its name must end with .parquet'
    >>> looks_like(b'[{"a": 1}]'), looks_like(b"a,b")
    ('JSON: its name must end with .json, or .jsonl with an object on each line', None)
    """
    for magic, says in _MAGIC:
        if head.startswith(magic):
            return says
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"{") and (dsjson := _dsjson(_names(text.split(b"\n", 1)[0]))) is not None:
        return f"{dsjson[0]}, expected {dsjson[1]}"
    if text.startswith((b"{", b"[{")):
        return "JSON: its name must end with .json, or .jsonl with an object on each line"
    if _VW.match(text):
        return "text of Vowpal Wabbit: save reward (-cost), propensity and action as a table"
    if text[:1] == b"<":
        return "HTML or XML, expected a table: export it as CSV"
    if not head:
        return "an empty file"
    return None


def members_of(archive: zipfile.ZipFile) -> list[str]:
    """Return the files in a zip archive, without those that macOS adds."""
    return [each for each in archive.namelist() if not each.endswith("/") and not each.startswith("__MACOSX")]


def json_line_looks_like(line: bytes) -> tuple[str, str] | None:
    """Return what a JSON object that is no outcome looks like, and how such a log is read; None: unknown.

    Examples
    --------
    >>> json_line_looks_like(b'{"_label_cost": -1, "_label_probability": 0.8, "a": [1, 2]}')[0]
    'dsjson, as Vowpal Wabbit reads it'
    >>> json_line_looks_like(b'{"click": 1, "p": 0.5}')[0]
    'a row with the fields click, p'
    """
    if line.strip() == b"[" or line.startswith(b"[{"):
        return (
            "a JSON array",
            "JSON lines: an outcome on each, as `rewards` has them; save a table as Parquet or CSV",
        )
    names = _names(line)
    if (dsjson := _dsjson(names)) is not None:
        return dsjson
    if not names or {"decision", "placement", "outcome_seq"} & {*names}:
        return None
    shown = ", ".join(names[:MOST_NAMES]) + (", …" if len(names) > MOST_NAMES else "")
    return (
        f"a row with the fields {shown}",
        "an outcome, as `rewards` has them; save a table as Parquet or CSV, and name its columns by --column",
    )


def _names(line: bytes) -> list[str]:
    try:
        return list(_object(line))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def _dsjson(names: list[str]) -> tuple[str, str] | None:
    if not any(name.startswith(("_label", "_outcomes")) for name in names):
        return None
    return (
        "dsjson, as Vowpal Wabbit reads it",
        "a table: save it as Parquet or CSV with reward (-_label_cost) and propensity (_label_probability)",
    )
