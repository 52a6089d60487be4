"""Files in the forms that other programs write them, and those that Vowpal Wabbit cannot learn."""

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bowerbird.cli import app
from records.errors import BadInput, WrongConfiguration
from replay.vw_files import examples as reading
from replay.vw_files.arguments import LineFormat, parsed
from replay.vw_files.learned import VwOptions, learned, looks_like

ADF = "--cb_explore_adf"
ONE = "shared | a b\n0:1:0.5 | c\n| d\n"
TWO = f"{ONE}\n{ONE}"
LOGGED = {
    "_label_cost": -1.0,
    "_label_probability": 0.5,
    "_label_Action": 1,
    "_labelIndex": 0,
    "a": [1, 2],
    "c": {"u": {"x": 1}, "_multi": [{"i": {"y": 1}}, {"i": {"z": 1}}]},
    "p": [0.5, 0.5],
}


def loss(file: Path, arguments: str = ADF, **options: object) -> str:
    return learned([file], VwOptions(arguments, **options)).average_loss  # type: ignore[arg-type]


def test_an_example_ends_with_an_empty_line(tmp_path: Path) -> None:
    expected = None
    texts = {
        "plain": TWO,
        "windows": TWO.replace("\n", "\r\n"),
        "no last line end": TWO.rstrip("\n"),
        "several empty lines": f"\n\n{ONE}\n \t\n\n{ONE}\n\n",
    }
    for name, text in texts.items():
        file = tmp_path / name
        file.write_bytes(text.encode())
        result = learned([file], VwOptions(ADF))
        assert result.examples == 2, name
        expected = expected or result.average_loss
        assert result.average_loss == expected, name


def test_a_mark_of_the_byte_order_and_a_packed_file_change_nothing(tmp_path: Path) -> None:
    plain, marked, packed = (tmp_path / name for name in ("plain", "marked", "packed.gz"))
    plain.write_text(TWO)
    marked.write_bytes(b"\xef\xbb\xbf" + TWO.encode())
    packed.write_bytes(gzip.compress(TWO.encode()))
    assert loss(plain) == loss(marked) == loss(packed)


def test_several_files_are_learned_one_after_the_other(tmp_path: Path) -> None:
    one, both = tmp_path / "one", tmp_path / "both"
    one.write_text(ONE)
    both.write_text(TWO)
    assert learned([one, one], VwOptions(ADF)) == learned([both], VwOptions(ADF))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("--cb 4", "1:2:0.4 | a\n2:1:0.4 | b\n"),
        ("--cb_explore 4", "1:2:0.4 | a\n\n2:1:0.4 | b\n"),
        ("--cats 4 --bandwidth 1 --min_value 0 --max_value 10", "ca 1.5:0.3:0.2 | a b\nca 2.5:0.1:0.2 | a\n"),
        ("--cats_pdf 4 --bandwidth 1 --min_value 0 --max_value 10", "ca 1.5:0.3:0.2 | a b\nca 2.5:0.1:0.2 | a\n"),
    ],
)
def test_examples_of_one_line_are_learned(tmp_path: Path, arguments: str, text: str) -> None:
    file = tmp_path / "log"
    file.write_text(text)
    result = learned([file], VwOptions(arguments))
    assert result.examples >= 2
    assert float(result.average_loss) > 0


def test_the_format_is_that_of_the_arguments_or_of_the_lines(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text(json.dumps(LOGGED) + "\n")
    assert looks_like(file) is LineFormat.DSJSON
    assert loss(file) == loss(file, f"{ADF} --dsjson") == loss(file, line_format=LineFormat.DSJSON) == "-1.000000"
    with pytest.raises(WrongConfiguration, match="--format: found dsjson, expected json, as the arguments say"):
        loss(file, f"{ADF} --json", line_format=LineFormat.DSJSON)
    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress(file.read_bytes()))
    assert looks_like(packed) is LineFormat.DSJSON
    assert loss(packed) == "-1.000000"
    file.write_text(json.dumps(LOGGED["c"]) + "\n")
    assert looks_like(file) is LineFormat.JSON
    assert loss(file) == "n.a."
    file.write_text(ONE)
    assert looks_like(file) is LineFormat.TEXT


def test_a_decision_for_infinitely_many_dropped_ones_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "log"
    for share, expected in ((1, "n.a."), (1.0, "n.a."), (0.5, "-1.000000")):
        file.write_text(json.dumps(LOGGED | {"pdrop": share}) + "\n")
        assert loss(file) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"pdrop": 0.99999999999}, "n.a."),
        ({"_skipLearn": True}, "n.a."),
        ({"_skipLearn": False}, "-1.000000"),
        ({"o": [{"pdrop": 1}]}, "-1.000000"),
        ({"c": LOGGED["c"] | {"shared": {"f": "1", "pdrop": 1}}}, "-1.000000"),  # type: ignore[operator]
    ],
)
def test_only_a_decision_itself_says_that_it_is_passed_over(
    tmp_path: Path, fields: dict[str, object], expected: str
) -> None:
    file = tmp_path / "log"
    file.write_text(json.dumps(LOGGED | fields) + "\n")
    assert loss(file) == expected


def test_a_value_that_names_a_file_stays_a_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("log").write_text(TWO)
    expected = loss(Path("log"), f"{ADF} --epsilon 0.2 -q ab")
    for name in ("0.2", "ab"):
        Path(name).write_text(ONE)
    assert loss(Path("log"), f"{ADF} --epsilon 0.2 -q ab") == expected


def test_a_file_that_cannot_be_written_is_named_before_anything_is_learned(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text(ONE)
    for written, found in (
        (file, "the file of examples"),
        (tmp_path, "a folder"),
        (file / "p.txt", "file exists"),
        (tmp_path / ("x" * 300), "file name too long"),
    ):
        with pytest.raises(WrongConfiguration, match=f"found {found}, expected a file that can be written"):
            loss(file, predictions=written)
    assert file.read_text() == ONE


def test_what_is_written_is_written_where_the_arguments_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("log").write_text(TWO)
    loss(Path("log"), f"{ADF} -f models/new/m.vw", predictions=Path("out/p.txt"))
    assert Path("models/new/m.vw").stat().st_size > 0
    assert len(Path("out/p.txt").read_text().split()) == 2
    # And goes on from there.
    assert loss(Path("log"), "-i models/new/m.vw") != loss(Path("log"))


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ("--cb_explore_adf --nonsense", "unrecognised option '--nonsense'"),
        ("--cb_explore_adf 'a", "expected quotation marks that are closed"),
        ("--passes 3", "found --passes, expected none: a file is read once"),
        ("--passes=3", "found --passes=3, expected none: a file is read once"),
        ("-c -k", "found -c, expected none: a file is read once"),
        ("--daemon --port 1", "found --daemon, expected none: nothing listens"),
        ("--active --simulation", "found --active, expected none: nothing asks it"),
        ("--examples 5", "found --examples, expected none: each file is learned as a whole"),
        ("--cb_explore_adf -b", "expected arguments of Vowpal Wabbit"),
        ("-d", "found -d at the end, expected a value after it"),
        ("--dsjson --json", "found --json and --dsjson, expected one of them"),
        ("--cb_explore_adf -i missing.model", "expected arguments of Vowpal Wabbit"),
    ],
)
def test_arguments_that_cannot_be_used_are_named(tmp_path: Path, arguments: str, found: str) -> None:
    file = tmp_path / "log"
    file.write_text(ONE)
    with pytest.raises(WrongConfiguration) as refused:
        loss(file, arguments)
    assert "--vw-args: found" in str(refused.value)
    assert found in str(refused.value)


def test_what_stands_alone_is_read_before_what_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("0.5").write_text("")
    Path("log").write_text(ONE)
    given = parsed("--cb_explore_adf --epsilon=0.5 log -d other --noconstant")
    assert (given.files, given.command) == (("log",), ("--cb_explore_adf", "--epsilon=0.5", "--noconstant"))
    assert parsed("-dother --data=third").files == ("other", "third")


KILLS = "ccb action | a\nccb action | b\nccb slot 0:1:0.5 | c\n"


def test_an_example_that_ends_the_process_is_named(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text(f"ccb shared | s\n{KILLS}\n{KILLS}")
    with pytest.raises(BadInput, match=r"line 6 of .*: found what ends Vowpal Wabbit \(SIG\w+\)"):
        loss(file, "--ccb_explore_adf")


def test_an_example_that_cannot_be_parsed_is_named(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text(f"{ONE}\nshared | a\n1:2:3:4 | b\n")
    with pytest.raises(BadInput, match=r"line 5 of .*: found .*expected an example that it can learn"):
        loss(file)


@pytest.mark.parametrize(
    ("text", "odd"),
    [
        (f"{ONE}\nhello\n", "line 5 of LOG: found a line without |"),
        ('{"c":{"_multi":[{"x":1},{"y":}]}}\n', "line 1 of LOG: found what is no JSON"),
    ],
)
def test_what_vowpal_wabbit_takes_in_silence_is_named(tmp_path: Path, text: str, odd: str) -> None:
    file = tmp_path / "log"
    file.write_text(text)
    (warning,) = learned([file], VwOptions(ADF)).warnings
    assert warning == f"{odd.replace('LOG', str(file))}; Vowpal Wabbit learns of it what it can"


def test_a_packed_file_that_was_cut_is_named(tmp_path: Path) -> None:
    file = tmp_path / "log.gz"
    file.write_bytes(gzip.compress((ONE + "\n").encode() * 5000)[:-20])
    with pytest.raises(WrongConfiguration, match=r"log\.gz: found Compressed file ended .* can be read to its end"):
        loss(file)


def test_an_example_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_BYTES", 20)
    file = tmp_path / "log"
    for text, line in ((ONE, 1), (f"| a\n\n{'| abc' * 9}", 3)):
        file.write_text(text)
        with pytest.raises(BadInput, match=f"line {line} of .*: found more than 20 bytes"):
            list(reading.examples(file, LineFormat.TEXT, several_lines=True))


def test_the_command(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_text(ONE)
    done = CliRunner().invoke(app, ["replay", "learn", "--format", "vw", "--vw-args", ADF, str(file)])
    assert (done.exit_code, done.stdout) == (0, "number of examples = 1\naverage loss = 1.000000\n")
    done = CliRunner().invoke(app, ["replay", "learn", "--vw-args", ADF, "--json", str(file)])
    assert json.loads(done.stdout) == {"examples": 1, "average_loss": 1.0}
    for wrong, named in (
        (["--format", "csv", str(file)], "--format: found csv, expected one of vw, json, dsjson"),
        ([], "FILE: found none, expected a file of examples"),
        ([str(tmp_path / "missing")], "found no file, expected examples for Vowpal Wabbit"),
    ):
        done = CliRunner().invoke(app, ["replay", "learn", "--vw-args", ADF, *wrong])
        assert done.exit_code == 2
        assert named in done.stderr
