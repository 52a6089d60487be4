"""The contract: what is checked in is what the record types say, and every example in it is true."""

import ast
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from typer.testing import CliRunner

from bowerbird.asyncapi import document, text
from bowerbird.cli import app
from bowerbird.contract_page import page
from bowerbird.error_codes import ERROR_CODES
from records.schemas import RECORDS
from stream.config import LOOP_TOPICS
from stream.kafka import headers as names
from stream.kafka.dead_letters import REASONS, DeadLetter
from stream.kafka.resend import RESENT_HEADER

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = document()


def checker(topic: str) -> Any:
    """Return what checks a message's value."""
    payload = DOCUMENT["components"]["messages"][topic]["payload"]
    return jsonschema.Draft7Validator({**payload, "components": DOCUMENT["components"]})


@pytest.mark.parametrize(
    ("file", "text_of", "options"),
    [("asyncapi.json", text, []), ("asyncapi.json", text, ["--json"]), ("contract.md", page, ["--page"])],
)
def test_what_is_checked_in_is_what_the_records_say(file: str, text_of: Any, options: list[str]) -> None:
    written = (ROOT / "docs" / file).read_text(encoding="utf-8")
    assert written == text_of(), f"run: bowerbird asyncapi {' '.join(options)} > docs/{file}"
    assert CliRunner().invoke(app, ["asyncapi", *options]).output == written


def test_both_at_once_is_wrong_use() -> None:
    result = CliRunner().invoke(app, ["asyncapi", "--json", "--page"])
    assert result.exit_code == 2
    assert "expected one of them" in result.output


def test_every_topic_and_every_record_is_there() -> None:
    channels = DOCUMENT["channels"]
    assert set(channels) == {*LOOP_TOPICS, "feedback", "replies"}
    for records in RECORDS.values():
        for record in records:
            assert record.__name__ in DOCUMENT["components"]["schemas"]
    assert "LogIdentity" in json.dumps(DOCUMENT["components"]["messages"]["versions"]["payload"])
    assert "ErrorReply" in json.dumps(DOCUMENT["components"]["messages"]["replies"]["payload"])


def test_every_field_is_told() -> None:
    silent = [
        f"{name}.{field}"
        for name, schema in DOCUMENT["components"]["schemas"].items()
        for field, about in schema.get("properties", {}).items()
        if not about.get("description") and "$ref" not in about
    ]
    assert silent == []


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, each in value.items():
            if key == "$ref":
                yield each
            else:
                yield from references(each)
    elif isinstance(value, list):
        for each in value:
            yield from references(each)


def test_every_reference_leads_somewhere() -> None:
    for reference in set(references(DOCUMENT)):
        node = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            node = node[step]


@pytest.mark.parametrize("topic", RECORDS)
def test_the_examples_are_records_one_or_many(topic: str) -> None:
    check = checker(topic)
    examples = [example["payload"] for example in DOCUMENT["components"]["messages"][topic]["examples"]]
    assert examples
    for example in examples:
        check.validate(example)
        check.validate([example, example])
    own = RECORDS[topic]
    for example in examples:
        matching = [record for record in own if _decodes(msgspec.json.encode(example), record)]
        assert matching, example


def _decodes(raw: bytes, record: type) -> bool:
    try:
        msgspec.json.decode(raw, type=record)
    except msgspec.ValidationError:
        return False
    return True


WRONG = {
    "decision-requests": [{"placement": "front"}, {"placement": "Front!", "actions": [{"id": "a"}]}, {"actions": []}],
    "feedback": [{"id": "a"}, {"event_id": 1}, {"event_id": "a", "value": "much"}, {"event_id": "a", "v": 2}],
    "replies": [{"v": 1, "event_id": "a"}, {"error": {"code": "expired"}}],
}


@pytest.mark.parametrize(("topic", "value"), [(topic, value) for topic, values in WRONG.items() for value in values])
def test_what_is_no_record_is_refused(topic: str, value: Any) -> None:
    assert not checker(topic).is_valid(value)
    assert not checker(topic).is_valid([value])


def test_the_headers_are_those_that_decide_reads() -> None:
    headers = set(DOCUMENT["components"]["messages"]["decision-requests"]["headers"]["properties"])
    assert headers == {
        *names.REPLY_TOPIC_HEADERS,
        *names.CORRELATION_HEADERS,
        names.EXPIRES_HEADER,
        RESENT_HEADER,
    }
    assert set(DOCUMENT["components"]["messages"]["replies"]["headers"]["properties"]) == set(names.CORRELATION_HEADERS)


def test_the_headers_are_those_of_a_dead_letter() -> None:
    letters = [
        DeadLetter("clicks", 0, 1, 0, "not_json", "no JSON", b"x" * 100, b"key", [("trace", b"1")]),
        DeadLetter("clicks", 0, 1, 0, "tombstone", "nothing", None, None, [("large", b"x" * 100_000)]),
        DeadLetter("clicks", 0, 1, 0, "not_json", "no JSON", b"[1,2]", count=2),
    ]
    written = {name for letter in letters for name, _ in letter.wire(10)[1]} - {"source-trace"}
    assert written | {"source-…"} == set(DOCUMENT["components"]["messages"]["dead-letters"]["headers"]["properties"])


def test_every_code_is_told_and_no_other() -> None:
    raised = set(REASONS)
    for package in ("archive", "clients", "policies", "records", "rewards", "stream"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in ("BadInput", "Problem") and node.args:
                    raised.update(codes(node.args[0]))
    # Made of parts, or of what another error says.
    raised |= {f"{what}_{wrong}" for what in ("name", "id") for wrong in ("empty", "too_long")}
    raised |= {"reward_too_large", "reward_not_finite"}
    assert raised == set(ERROR_CODES)


def codes(node: ast.expr) -> set[str]:
    """Return the constants that an argument may be."""
    if isinstance(node, ast.IfExp):
        return codes(node.body) | codes(node.orelse)
    return {node.value} if isinstance(node, ast.Constant) and isinstance(node.value, str) else set()
