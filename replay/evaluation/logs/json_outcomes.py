"""Outcomes as lines of JSON."""

import codecs
import json
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as arrow_json

from archive.rows import computed
from archive.schema import TIME
from records.codec import decode
from records.decision import Decision
from records.errors import BadInput
from records.outcome import Outcome
from replay.evaluation.logs.ahead import ahead
from replay.evaluation.logs.chunk import Progress, silent
from replay.evaluation.logs.first_bytes import json_line_looks_like
from replay.evaluation.logs.opened import opened
from replay.evaluation.logs.outcome_source import NUMBERS, OutcomeBatch

BLOCK_BYTES = 8 * 2**20
"""So much text is read at a time."""
LONGEST_LINE = 64 * 2**20
"""A longer one is refused."""
EXPECTED = "JSON lines: an outcome on each, as `rewards` has them"
_NEWLINE, _SPACES = 10, (9, 10, 13, 32)
_WORKERS = min(4, os.cpu_count() or 1)

_TEXT, _NUMBER = pa.string(), pa.float64()
_OUTER: dict[str, Any] = {
    "event_id": _TEXT,
    "placement": _TEXT,
    "policy": _TEXT,
    "policy_version": _TEXT,
    "shard": pa.int32(),
    "outcome_seq": pa.int64(),
    "revision": pa.int32(),
    "places": pa.int32(),
    "rewards": pa.list_(_NUMBER),
    "reward": _NUMBER,
    "learn": pa.bool_(),
    "why": _TEXT,
}
_DRAWN: dict[str, Any] = {
    "propensity": _NUMBER,
    "pmf": pa.list_(_NUMBER),
    "chosen": _TEXT,
    "user_id": _TEXT,
    "actions": pa.list_(pa.struct([("id", _TEXT)])),
    "picks": pa.list_(pa.struct([("action", _TEXT), ("propensity", _NUMBER)])),
}
_REPEATED = {"placement", "policy", "policy_version", "why", "chosen", "rule"}
_AS_TEXT = ("context", "rule")
"""JSON within the decision that stays as it came."""
OPTIONAL_FIELDS = ("revision", "places", "user_id", "rewards", "picks")

_outcome = msgspec.json.Decoder(Outcome)
_decision = msgspec.json.Decoder(Decision)


class _Drawn(msgspec.Struct):
    context: msgspec.Raw = msgspec.Raw(b"{}")
    rule: msgspec.Raw = msgspec.Raw(b"{}")


class _OfDecision(msgspec.Struct):
    decision: _Drawn


_texts_of = msgspec.json.Decoder(_OfDecision)


class JsonLines:
    """The outcomes of a file with one on each line; it may be packed (``.gz``, ``.xz``).

    Lines that are empty are passed over; all others must be outcomes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def check_kind(self) -> None:
        """Raise :class:`BadInput` where the first line is no outcome, but something else that is known."""
        with opened(self._path, silent, EXPECTED) as file:
            for _ in self._known(islice(_texts(file, self._path.name), 1)):
                pass

    def may_have_lists(self) -> bool:
        """See :class:`replay.evaluation.logs.outcome_source.Outcomes`; only reading everything would tell."""
        return True

    def batches(self, columns: Sequence[str], progress: Progress, first_row: int = 0) -> Iterator[OutcomeBatch]:
        """Yield all outcomes, several blocks of text being taken apart at once.

        Raises
        ------
        BadInput
            A line is no outcome: the error names it, and the field.
        """
        place = _Line(self._path.name)
        passed = 0

        def parsed(text: _Text) -> _Parsed:
            # There may be fewer rows than lines, so what lies before the row lies before the line.
            return _parsed(text.whole(), NUMBERS if text.last_line <= first_row else columns)

        with opened(self._path, progress, EXPECTED) as file:
            for found in ahead(parsed, self._known(_texts(file, self._path.name)), _WORKERS):
                if found.wrong is not None:
                    line, field, value, expected = found.wrong
                    raise BadInput("bad_log", f"{place.where(passed + line)}: {field}", value, expected)
                offsets = pc.add(found.batch.column("offset"), passed)
                index = found.batch.schema.get_field_index("offset")
                yield OutcomeBatch(found.batch.set_column(index, "offset", offsets), place, beheaded=True)
                passed += found.lines

    def _known(self, texts: Iterator["_Text"]) -> Iterator["_Text"]:
        """Yield the texts; refuse a file whose first line is an object of another kind."""
        for number, text in enumerate(texts):
            if not number:
                first = text.whole().lstrip().split(b"\n", 1)[0]
                if (looks := json_line_looks_like(first)) is not None:
                    raise BadInput("bad_log", self._path.name, *looks)
            yield text


class _Line(NamedTuple):
    file: str

    def where(self, offset: int) -> str:
        return f"{self.file}, line {offset}"

    def bad(self, column: str, offset: int, found: str, expected: str) -> BadInput:
        return BadInput("bad_log", f"{self.where(offset)}: {field_of(column)}", found, expected)


def field_of(column: str) -> str:
    """Return the place of an archive column in an outcome."""
    if column == "decided_at":
        return "decision_position.time_ms"
    return f"decision.{column}" if column in _DRAWN else column


class _Text(NamedTuple):
    """Whole lines: what the block before has left, and this one up to its last line's end, the file's ``last_line``."""

    rest: bytes
    content: bytes
    end: int
    last_line: int

    def whole(self) -> bytes:
        return b"".join((self.rest, memoryview(self.content)[: self.end]))


class _Parsed(NamedTuple):
    """What a text was: its rows and how many lines it had; or what is wrong, and on which of its lines, from 1."""

    batch: "pa.RecordBatch"
    lines: int
    wrong: tuple[int, str, str, str] | None = None


def _texts(file: Any, name: str) -> Iterator[_Text]:
    rest, line = b"", 0
    while content := file.read(BLOCK_BYTES):
        if not line and not rest:
            content = content.removeprefix(codecs.BOM_UTF8)
        end = content.rfind(b"\n") + 1
        if not end:
            rest += content
            if len(rest) > LONGEST_LINE:
                raise BadInput("bad_log", name, f"a line of more than {LONGEST_LINE} bytes", EXPECTED)
            continue
        line += int(np.count_nonzero(np.frombuffer(content, dtype=np.uint8, count=end) == _NEWLINE))
        yield _Text(rest, content, end, line)
        rest = content[end:]
    if rest.strip():
        yield _Text(rest, b"\n", 1, line + 1)


def _parsed(text: bytes, columns: Sequence[str]) -> _Parsed:
    content = np.frombuffer(text, dtype=np.uint8)
    ends = np.flatnonzero(content == _NEWLINE)
    lines = np.arange(1, len(ends) + 1, dtype=np.int64)
    # A line that is empty is one that ends with space, or begins with its end.
    if np.isin(content[ends - 1], _SPACES).any() or content[0] == _NEWLINE:
        lines = lines[[bool(line.strip()) for line in text.split(b"\n")[:-1]]]
    try:
        return _Parsed(outcome_batch(text, columns, lines), len(ends))
    except (pa.ArrowInvalid, msgspec.DecodeError):
        return _Parsed(None, len(ends), _wrong(text, lines, columns))


def _wrong(text: bytes, lines: np.ndarray[Any, Any], columns: Sequence[str]) -> tuple[int, str, str, str]:
    """Return the first line that is no outcome, which field of it is wrong, what was found and expected."""
    filled = (line for line in text.split(b"\n") if line.strip())
    for number, line in zip(lines.tolist(), filled, strict=True):
        within = ""
        try:
            outcome = decode(_outcome, line)
            within = "decision."
            decode(_decision, bytes(outcome.decision))
            # Arrow refuses what is no number of its kind, and a field that comes twice.
            outcome_batch(line + b"\n", columns, np.array([number]))
        except BadInput as error:
            expected = EXPECTED if error.field == "value" else f"{error.expected} ({EXPECTED})"
            return number, within + error.field, error.found, expected
        except pa.ArrowInvalid:
            return number, *_unfit(line)
    return int(lines[0]), "value", "what is no outcome", EXPECTED


def _unfit(line: bytes) -> tuple[str, str, str]:
    """Return the field of an outcome that a table cannot hold, its value, and what is expected."""
    twice: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        twice.extend(name for name in names if names.count(name) > 1)
        return dict(pairs)

    outcome = json.loads(line, object_pairs_hook=once)
    if twice:
        return twice[0], "the field twice", f"it once ({EXPECTED})"
    drawn = {f"decision.{name}": (kind, outcome["decision"].get(name)) for name, kind in _DRAWN.items()}
    outer = {name: (kind, outcome.get(name)) for name, kind in _OUTER.items()}
    place = {"decision_position.time_ms": (pa.int64(), outcome["decision_position"].get("time_ms"))}
    for field, (kind, value) in {**outer, **drawn, **place}.items():
        try:
            pa.array([value], kind)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            return field, json.dumps(value), f"an outcome's ({EXPECTED})"
    return "value", "an outcome that no table can hold", EXPECTED


def outcome_batch(text: bytes, columns: Sequence[str], offsets: np.ndarray[Any, Any]) -> "pa.RecordBatch":
    """Return outcomes by the column, one from each line.

    Raises
    ------
    pyarrow.ArrowInvalid
        A line is not an outcome, or has more than one.
    """
    # Arrow dies of a text whose first value is null.
    if text and text.lstrip()[:1] not in (b"{", b""):
        raise pa.ArrowInvalid("no object")
    if not len(offsets):
        text = b"\n"
    wanted = {*columns, "user_id"} if "unit_hash" in columns else {*columns}
    drawn = [(name, kind) for name, kind in _DRAWN.items() if name in wanted]
    place = pa.struct([("time_ms", pa.int64())])
    table = arrow_json.read_json(
        pa.BufferReader(text),
        read_options=arrow_json.ReadOptions(use_threads=False, block_size=len(text) + 1),
        parse_options=arrow_json.ParseOptions(
            explicit_schema=pa.schema([*_OUTER.items(), ("decision", pa.struct(drawn)), ("decision_position", place)]),
            unexpected_field_behavior="ignore",
        ),
    ).combine_chunks()
    if table.num_rows != len(offsets):
        raise pa.ArrowInvalid(f"{table.num_rows} values on {len(offsets)} lines")
    table.validate(full=True)
    found = {name: _one(table.column(name)) for name in _OUTER}
    found |= dict(zip([name for name, _ in drawn], _one(table.column("decision")).flatten(), strict=True))
    found["offset"], found["problem"] = pa.array(offsets), pa.nulls(len(offsets), pa.string())
    found["revision"] = found["revision"].fill_null(0)
    of_places = [pc.list_value_length(found[name]).fill_null(0) for name in ("rewards", "picks") if name in found]
    found["places"] = pc.max_element_wise(found["places"].fill_null(1), *of_places)
    found["decided_at"] = _one(table.column("decision_position")).flatten()[0].cast(TIME)
    lines = [line for line in text.split(b"\n") if line.strip()] if {"raw", *_AS_TEXT} & {*columns} else []
    for name in columns:
        if name in ("event_hash", "unit_hash"):
            found[name] = computed(name, found["user_id"], found["event_id"])
        elif name == "raw":
            found[name] = pa.array(lines, pa.binary())
    if as_text := [name for name in columns if name in _AS_TEXT]:
        decisions = [_texts_of.decode(line).decision for line in lines]
        for name in as_text:
            found[name] = pa.array([bytes(getattr(each, name)) for each in decisions], pa.string())
    for name in _REPEATED.intersection(columns):
        found[name] = found[name].dictionary_encode()
    if "actions" in columns and not found["actions"].null_count:
        ids = found["actions"].values.field("id").dictionary_encode()
        found["actions"] = pa.ListArray.from_arrays(
            found["actions"].offsets, pa.StructArray.from_arrays([ids], names=["id"])
        )
    return pa.RecordBatch.from_arrays([found[name] for name in columns], names=list(columns))


def _one(column: "pa.ChunkedArray") -> "pa.Array":
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)
