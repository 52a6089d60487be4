"""Tables as text, as people and programs write them."""

import bz2
import gzip
import random
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from records.errors import BadInput, BowerbirdError
from replay.evaluation.logs.columns import Columns
from replay.evaluation.logs.csv_table import CSV_BYTES
from replay.evaluation.logs.formats import Format, format_of
from replay.evaluation.logs.table_files import table_log
from replay.evaluation.rows import EvaluationRows
from tests.replay.evaluation.logs.rows import with_column

NAMES = ["reward", "propensity", "target", "action", "time"]
ROWS = [
    ["1", "0.5", "0.25", "boots", "2026-11-29T12:00:00Z"],
    ["0", "0.25", "0.5", "hat", "2026-11-29T12:00:01Z"],
    ["2.5", "0.125", "0", "a b", "2026-11-29T12:00:02Z"],
]


def text(delimiter: str = ",", end: str = "\n", decimal: str = ".") -> str:
    numbers = [[*(cell.replace(".", decimal) for cell in row[:3]), *row[3:]] for row in ROWS]
    return end.join(delimiter.join(row) for row in [NAMES, *numbers]) + end


def zstd(content: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(content))


def zipped(path: Path, content: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inner.csv", content)


FORMS = {
    "comma.csv": text().encode(),
    "semicolon.csv": text(";").encode(),
    "decimal-comma.csv": text(";", decimal=",").encode(),
    "tab.tsv": text("\t").encode(),
    "tab.csv": text("\t", decimal=",").encode(),
    "bar.txt": text("|").encode(),
    "windows.csv": text(end="\r\n").encode(),
    "mark.csv": text().encode("utf-8-sig"),
    "utf-16.csv": text(";").encode("utf-16"),
    "no-last-end.csv": text().rstrip().encode(),
    "empty-lines.csv": (text() + "\n\n").encode(),
    "packed.csv.bz2": bz2.compress(text().encode()),
    "packed.tsv.zst": zstd(text("\t").encode()),
}


@pytest.mark.parametrize("name", [*FORMS, "packed.csv.zip", "packed.zip"])
def test_each_form_is_read_alike(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.endswith(".zip"):
        zipped(path, text().encode())
    else:
        path.write_bytes(FORMS[name])
    assert format_of(str(path)) is Format.TABLE
    log = table_log(path)
    (block,) = log.blocks()
    assert block.rows.reward.tolist() == [1, 0, 2.5]
    assert block.rows.weight.tolist() == [0.5, 2.0, 0.0]
    assert log.names.actions.names == ["boots", "hat", "a b"]
    assert block.rows.time_ms is not None
    assert block.rows.time_ms[1] - block.rows.time_ms[0] == 1000


def test_truths_and_whole_floats(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("reward,propensity,action\nTrue,0.5,1.0\nFalse,0.5,0.0\n1,0.5,1.0\n")
    (block,) = table_log(path).blocks()
    assert block.rows.reward.tolist() == [1, 0, 1]


def test_ends_of_lines_within_quotes_at_every_edge(tmp_path: Path) -> None:
    path, chance = tmp_path / "a.csv", random.Random(3)
    names = [f'say ""{number}""\n{"x" * chance.randrange(2000)}' for number in range(3000)]
    path.write_text("reward,propensity,action\n" + "".join(f'1,0.5,"{name}"\n' for name in names))
    assert path.stat().st_size > 2 * CSV_BYTES
    log = table_log(path)
    assert sum(len(block.rows) for block in log.blocks()) == 3000
    assert log.names.actions.names == [name.replace('""', '"') for name in names]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "a.csv: found an empty file"),
        (b"reward,propensity\n", "a.csv: found no rows"),
        (b"1,0.5\n0,0.5\n", "line 1: found numbers alone, expected a first line with the names of the columns"),
        (b"reward,propensity\n1,0.5\n0\n", "a.csv, line 3: found 1 fields, expected 2"),
        (b"reward,propensity\nTrue,0.5\nmaybe,0.5\n", "a.csv, line 3: reward: found 'maybe', expected True or False"),
        ("reward,propensity,action\n1,0.5,Müller\n".encode("latin-1"), "text in another encoding than UTF-8"),
        (b"PK\x03\x04 and more", "found a zip archive or an Excel workbook"),
        (b"PAR1 and more", "found Parquet: its name must end with .parquet"),
        (b'{"a": 1}\n', "found JSON"),
        (b'{"_label_cost": -1, "_label_probability": 0.8}\n', "found dsjson, as Vowpal Wabbit reads it"),
        (b"reward,propensity\r1,0.5\r0,0.5\r", "a.csv: found lines that end with a carriage return alone"),
        (b"a,b\0\n", "found bytes of a binary file"),
        (
            b"1:-1:0.5 | a b\n2:0:0.5 | c\n",
            "found text of Vowpal Wabbit: save reward (-cost), propensity and action as a table, expected",
        ),
        (b"shared | a\n0:-1.0:0.5 | b\n| c\n\n", "found text of Vowpal Wabbit: save"),
    ],
)
def test_what_is_no_table_is_named_by_its_looks(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(BadInput, match=re.escape(says)):
        list(table_log(tmp_path / "a.csv").blocks())


def test_two_files_in_one_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.csv.zip", "w") as archive:
        archive.writestr("a.csv", text())
        archive.writestr("b.csv", text())
    with pytest.raises(BadInput, match="found 2 files, expected one file"):
        table_log(tmp_path / "a.csv.zip")


LIBRARY = re.compile(
    r"Expected `|got `|Arrow[A-Z]|CSV conversion|codec can't|Traceback|Invalid:|[\x00-\x08\x0b-\x1f\x7f]"
)


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.csv.bz2", "a.csv.zst", "a.csv.zip", "a.parquet", "a.arrow"])
@pytest.mark.parametrize("seed", range(30))
def test_every_error_is_in_our_words(tmp_path: Path, name: str, seed: int) -> None:
    """A file that is spoilt at random is read, or refused with a sentence that is ours and names the file."""
    chance, path = np.random.default_rng(seed), tmp_path / name
    content = bytearray(_whole(path))
    for _ in range(int(chance.integers(1, 6))):
        at = int(chance.integers(0, len(content)))
        match int(chance.integers(0, 3)):
            case 0:
                content[at] = int(chance.integers(0, 256))
            case 1:
                del content[at:]
                content += b"\0"
            case _:
                content[at:at] = chance.bytes(int(chance.integers(1, 20)))
    path.write_bytes(content)
    try:
        list(table_log(path, Columns(action="action")).blocks())
    except BowerbirdError as error:
        said = str(error)
    else:
        said = ""
    assert not LIBRARY.search(said), said


def _whole(path: Path) -> bytes:
    table = pa.table({"reward": [1.0, 0.5] * 50, "propensity": [0.5] * 100, "action": ["boots", "hat"] * 50})
    if path.suffix == ".parquet":
        pa.parquet.write_table(table, path)
    elif path.suffix == ".arrow":
        with pa.ipc.new_file(path, table.schema) as sink:
            sink.write_table(table)
    else:
        lines = "reward,propensity,action\n" + "".join(
            f"{row['reward']},{row['propensity']},{row['action']}\n" for row in table.to_pylist()
        )
        plain = lines.encode()
        if path.suffix == ".zip":
            zipped(path, plain)
            return path.read_bytes()
        packers: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": zstd}
        return packers.get(path.suffix, bytes)(plain)
    return path.read_bytes()


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
def test_a_quote_within_a_field_is_a_character(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, delimiter: str) -> None:
    monkeypatch.setattr("replay.evaluation.logs.csv_table.LONGEST_LINE", 2 * CSV_BYTES)
    written = {'5" screen': '5" screen', 'a "b': 'a "b', '"two\nlines ""and"" quotes"': 'two\nlines "and" quotes'}
    cells = ['5"', *(cell for cell in written for _ in range(60_000))]
    path = tmp_path / "log.csv"
    rows = [["reward", "propensity", "action"], *(["1", "0.5", cell] for cell in cells)]
    path.write_text("".join(delimiter.join(row) + "\n" for row in rows))
    assert path.stat().st_size > 3 * CSV_BYTES
    log = table_log(path)
    assert sum(len(block.rows) for block in log.blocks()) == len(cells)
    assert log.names.actions.names == ['5"', *written.values()]


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ({500: '"red shoes'}, "a quote that is not closed"),
        ({0: '"red shoes'}, "a quote that is not closed"),
        ({1999: '"red shoes'}, "a quote that is not closed"),
        ({500: '"red" shoes'}, "a quote within a field in quotes, after '\"red\"'"),
        ({500: '"red shoes', 700: '"blue"'}, "a quote within a field in quotes, after"),
        ({500: '"red shoes', 501: 'blue"'}, "rows within a field in quotes"),
        ({500: '"red shoes', 900: 'blue"'}, "rows within a field in quotes"),
    ],
)
@pytest.mark.parametrize("behind", ["", "0"])
def test_a_quote_never_drops_rows(
    tmp_path: Path, delimiter: str, cells: dict[int, str], found: str, behind: str
) -> None:
    """A quote that would take the rows after it into its field is an error in the line in which it opens."""
    more = [behind] if behind else []
    rows = [["1", "0.5", cells.get(row, "shoes"), *more] for row in range(2000)]
    names = [["reward", "propensity", "action", *(["seen"] if behind else [])]]
    (tmp_path / "a.csv").write_text("".join(delimiter.join(row) + "\n" for row in names + rows))
    with pytest.raises(BadInput, match=re.escape(f"a.csv, line {min(cells) + 2}: found {found}")) as error:
        list(table_log(tmp_path / "a.csv").blocks())
    assert "RFC 4180" in str(error.value)


def test_an_open_quote_far_behind_and_in_a_long_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.csv"
    some = "1,0.5,shoes\n" * 150_000
    path.write_text(f'reward,propensity,action\n{some}1,0.5,"red\n{some}')
    with pytest.raises(BadInput, match=r"a.csv, line 150002: found a quote that is not closed"):
        list(table_log(path).blocks())
    monkeypatch.setattr("replay.evaluation.logs.csv_table.LONGEST_LINE", CSV_BYTES)
    with pytest.raises(BadInput, match=r"a.csv, line 150002: found a quote that is not closed, or a line of more"):
        list(table_log(path).blocks())


def test_a_quote_that_opens_in_the_line_of_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('reward,propensity,"action\n1,0.5,a\n0,0.5,b\n')
    with pytest.raises(BadInput, match=r"a.csv, line 1: found a quote that is not closed"):
        table_log(tmp_path / "a.csv")


def table(delimiter: str, *more: str) -> str:
    """Return a table with a further column, of these values."""
    lines = [["reward", "propensity", "more"], *(["1", "0.5", each] for each in more)]
    return "".join(delimiter.join(line) + "\n" for line in lines)


def read(tmp_path: Path, content: str, columns: Columns | None = None) -> EvaluationRows:
    (tmp_path / "a.csv").write_text(content)
    (block,) = table_log(tmp_path / "a.csv", columns).blocks()
    return block.rows


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_only_columns_that_are_read_decide_the_decimal_sign(tmp_path: Path, delimiter: str) -> None:
    content = table(delimiter, "3,7", "1,50")
    assert read(tmp_path, content).propensity.tolist() == [0.5, 0.5]
    with pytest.raises(BadInput, match=r"line 2: propensity: found '0\.5', expected a number with a decimal comma"):
        read(tmp_path, content, Columns(model_logged="more"))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_line_with_other_fields_is_named_whatever_separates_them(tmp_path: Path, delimiter: str) -> None:
    content = table(delimiter, *["a"] * 50).replace("a\n", f"a{delimiter}\n", 1)
    with pytest.raises(BadInput, match=r"a\.csv, line 2: found 4 fields, expected 3, as the first line has"):
        read(tmp_path, content)


def test_a_long_field_is_a_field(tmp_path: Path) -> None:
    assert len(read(tmp_path, table(",", "a", "x" * 200_000, f'"{"y" * 200_000}"'))) == 3
    with pytest.raises(BadInput, match=r"line 2: more: found 'xxx"):
        read(tmp_path, table(",", "x" * 200_000), Columns(weight="more"))


@pytest.mark.parametrize("delimiter", [",", ";", "\t", ":"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_line_that_tells_excel_the_delimiter(tmp_path: Path, delimiter: str, end: str) -> None:
    content = f"sep={delimiter}\n{table(delimiter, 'a', 'b')}".replace("\n", end)
    assert read(tmp_path, content).propensity.tolist() == [0.5, 0.5]
    with pytest.raises(BadInput, match=r"line 4: more: found 'b'"):
        read(tmp_path, content.replace(f"{delimiter}a", f"{delimiter}1"), Columns(weight="more"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            "# exported\n" + table(",", "a"),
            "line 1: found a line that begins with #, expected the names of the columns",
        ),
        ("reward\tpropensity\n1\t0\t0.5\n2\t1\t0.5\n", "line 1: found 2 names, and 3 fields in each row"),
        ('"reward" "propensity"\n"1" 0 0.5\n"2" 1 0.5\n', "line 1: found fields with spaces between them"),
        ("reward propensity\n0 0.5\n", "line 1: found fields with spaces between them"),
        (table(",", " true", "true"), "line 2: more: found ' true', expected True or False"),
        (table(",", "1_000"), "line 2: more: found '1_000', expected a number"),
        (table(",", "1\u00a0000"), "line 2: more: found '1\\xa0000', expected a number"),
        (table(",", "\u0661"), "line 2: more: found '\u0661', expected a number"),
    ],
)
def test_forms_of_other_programs_are_named(tmp_path: Path, content: str, says: str) -> None:
    with pytest.raises(BadInput, match=re.escape(says)):
        read(tmp_path, content, Columns(propensity="propensity", reward="more" if "more: " in says else "reward"))


@pytest.mark.parametrize("field", ["unit", "event"])
@pytest.mark.parametrize("nothing", ["", "NA", "null", "NaN"])
def test_an_id_that_is_missing_is_no_id(tmp_path: Path, field: str, nothing: str) -> None:
    with pytest.raises(BadInput, match="row 1: more: found null, expected a value"):
        read(tmp_path, table(",", "a", nothing, nothing), with_column(field, "more"))
    assert len(read(tmp_path, table(",", "a", nothing), Columns(action="more"))) == 2
