"""The contract as a page for people, made of the AsyncAPI document; docs/contract.md is what it says now."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bowerbird.asyncapi import document

_HEAD = """\
<!-- Made by `bowerbird asyncapi --page`; a test fails when it differs from the record types. -->

# The contract

{description}

The same as an AsyncAPI 3.0 document: [asyncapi.json](asyncapi.json) (`bowerbird asyncapi`). Clients: `bowerbird_client`
for Python ([client.md](client.md)); [Java](../examples/java/Shop.java) and
[JavaScript](../examples/javascript/shop.js) without a library of ours.

## Topics

Before each name stands the service's setting `prefix`, by default nothing.

| topic | Bowerbird | key | record |
|---|---|---|---|
"""


def page() -> str:
    """Return the text of docs/contract.md."""
    described = document()
    return "\n".join(_lines(described)) + "\n"


def _lines(described: Mapping[str, Any]) -> Iterator[str]:
    messages: Mapping[str, Any] = described["components"]["messages"]
    yield _HEAD.format(description=described["info"]["description"]).rstrip("\n")
    for topic, message in messages.items():
        key = message["bindings"]["kafka"]["key"]["description"]
        yield _row(_address(described["channels"][topic]), _directions(described, topic), key, _records(message))
    for topic, message in messages.items():
        yield from ("", f"### {_address(described['channels'][topic])}", "", message["summary"])
        yield from _settings(described["channels"][topic])
        yield from _headers(message.get("headers", {}).get("properties", {}))
        for example in message.get("examples", []):
            yield from ("", "```json", _compact(example["payload"]), "```")
    yield from ("", "## Records")
    for name, schema in described["components"]["schemas"].items():
        yield from ("", f"### {name}", "", " ".join(schema.get("description", "").split()))
        yield from _fields(schema)
    yield from (
        "",
        "## Codes",
        "",
        "What may be wrong, in error replies and in the header `reason` of dead letters.",
        "",
    )
    yield from ("| code | meaning |", "|---|---|")
    for code, meaning in described["x-error-codes"].items():
        yield _row(f"`{code}`", meaning)


def _address(channel: Mapping[str, Any]) -> str:
    address = channel["address"]
    if address is None:
        return "the reply topic"
    bare = address.removeprefix("{prefix}")
    return "a stream: `views`, `clicks`, …" if bare == "{stream}" else f"`{bare}`"


def _directions(described: Mapping[str, Any], topic: str) -> str:
    reference = f"#/channels/{topic}"
    for operation in described["operations"].values():
        if operation["channel"]["$ref"] == reference:
            return "reads" if operation["action"] == "receive" else "writes"
    return "writes"


def _records(message: Mapping[str, Any]) -> str:
    if "payload" not in message:
        return "bytes as they came"
    one, _array = message["payload"]["oneOf"]
    return " or ".join(_type(each) for each in one.get("oneOf", [one])) + ", one or an array"


def _settings(channel: Mapping[str, Any]) -> Iterator[str]:
    kafka = channel.get("bindings", {}).get("kafka")
    if kafka is not None:
        settings = dict(kafka["topicConfiguration"])
        settings["cleanup.policy"] = ",".join(settings["cleanup.policy"])
        partitions = f"{kafka['partitions']} partition; " if "partitions" in kafka else ""
        yield ""
        yield f"{partitions}{', '.join(f'`{name}={value}`' for name, value in settings.items())}."


def _headers(headers: Mapping[str, Any]) -> Iterator[str]:
    if headers:
        yield from ("", "| header | meaning |", "|---|---|")
        for name, schema in headers.items():
            yield _row(f"`{name}`", schema["description"])


def _fields(schema: Mapping[str, Any]) -> Iterator[str]:
    if "properties" in schema:
        yield from ("", "| field | type | default | meaning |", "|---|---|---|---|")
        for name, field in schema["properties"].items():
            default = "required" if name in schema.get("required", []) else _default(field)
            yield _row(f"`{name}`", _type(field), default, field.get("description", ""))


def _default(field: Mapping[str, Any]) -> str:
    return f"`{json.dumps(field['default'])}`" if "default" in field else ""


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return " \\| ".join(f"`{json.dumps(value)}`" for value in schema["enum"])
    for several in ("anyOf", "allOf"):
        if several in schema:
            return _alternatives([_type(each) for each in schema[several]])
    kind = schema.get("type", "anything")
    if kind == "array":
        items = schema.get("items", {})
        return f"[{', '.join(_type(each) for each in items)}]" if isinstance(items, list) else f"list of {_type(items)}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    limits = [
        f"{sign} {schema[name]:g}"
        for name, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"))
        if name in schema
    ]
    limits += [f"`{schema['pattern']}`"] if "pattern" in schema else []
    return " ".join([_alternatives(kind) if isinstance(kind, list) else kind, *limits])


def _alternatives(texts: Sequence[str]) -> str:
    return " \\| ".join(texts)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace(chr(10), ' ') for cell in cells)} |"


def _compact(value: Any) -> str:
    """Return JSON with a line for each of its fields."""
    if not isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    fields = (f"  {json.dumps(name)}: {json.dumps(each, ensure_ascii=False)}" for name, each in value.items())
    return "{\n" + ",\n".join(fields) + "\n}"
