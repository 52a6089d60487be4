"""The contract as an AsyncAPI 3.0 document, made of the record types; docs/asyncapi.json is what it says now.

The payloads are the JSON Schemas of :func:`records.schemas.schemas`, in the form of draft 7, which every AsyncAPI tool
reads. Source: the AsyncAPI specification 3.0.0, and its bindings for Kafka 0.5.0.
"""

import re
from collections.abc import Mapping
from inspect import getdoc, signature
from typing import Any

import orjson

from bowerbird.error_codes import ERROR_CODES
from bowerbird.settings.definitions import meanings
from records.decision import PickedAction
from records.error_reply import Problem
from records.feedback import CountedFeedback
from records.limits import INPUT_MESSAGE_BYTES, ITEMS_LIMIT, LONGEST_EXPIRES_MS, Limits
from records.position import LogPosition
from records.rule import Reward, Rule, StreamReward
from records.schemas import RECORDS, schemas
from records.shape import Shape, UniformWrapper
from records.versions_snapshot import LoggedVersion
from rewards.join_items import JoinSettings
from stream.clients import LARGE_MESSAGE_BYTES
from stream.config import Config
from stream.kafka.dead_letters import APART
from stream.kafka.decompress import BATCH_BYTES, BATCH_RECORDS
from stream.kafka.headers import CORRELATION_BYTES, CORRELATION_HEADERS, EXPIRES_HEADER
from stream.kafka.resend import RESENT_HEADER
from stream.kafka.topics import TICKS_RETENTION_MS

CONTRACT_VERSION = "1.0.0"
"""Its first number is the ``v`` of the records; the second grows with fields and codes that are new."""

EVENT_ID = "01932c07-8a4e-7cc3-98c4-dc0c0c07398f"
_ACTIONS = [{"id": "boots", "features": {"item": {"price": 90}}}, {"id": "hat", "features": {"item": {"price": 25}}}]
_REQUEST = {
    "v": 1,
    "event_id": EVENT_ID,
    "placement": "front",
    "context": {"user": {"age": 34, "city": "Lyon"}},
    "actions": _ACTIONS,
}
_DECISION = {
    **_REQUEST,
    "activate": True,
    "pmf": [0.05, 0.95],
    "chosen": "hat",
    "propensity": 0.95,
    "ranking": ["hat", "boots"],
    "policy": "front",
    "policy_version": "12-0a1b2c3d",
    "expires_at_ms": 1732400001000,
    "rule": {
        "window_s": 600.0,
        "early_s": 120.0,
        "reward": {"streams": {"clicks": {"weight": 1.0, "aggregate": "max"}}},
    },
}
_CLICK = {"v": 1, "id": "click-1", "event_id": EVENT_ID}
_OUTCOME = {
    "v": 1,
    "event_id": EVENT_ID,
    "placement": "front",
    "policy": "front",
    "policy_version": "12-0a1b2c3d",
    "shard": 0,
    "outcome_seq": 42,
    "revision": 0,
    "reward": 1.0,
    "learn": True,
    "why": "window",
    "closed_ms": 1732400600000,
    "decision_position": {"time_ms": 1732400000000, "topic": "decisions", "partition": 0, "offset": 7, "index": 0},
    "feedback": [
        {"stream": "clicks", "time_ms": 1732400020000, "partition": 1, "offset": 3, "index": 0, "event": _CLICK}
    ],
    "decision": _DECISION,
}
_VERSION = {
    "v": 1,
    "policy": "front",
    "number": 12,
    "version": "12-0a1b2c3d",
    "kind": "vw",
    "arguments": "--cb_explore_adf --epsilon 0.1 -q uI",
    "salt": "front",
    "cut": 120,
    "placements": ["front"],
    "last_seqs": {"front/0": 41},
    "digest": "0a1b2c3d" + "0" * 56,
    "examples": 40,
}
_ERROR = {
    "v": 1,
    "event_id": EVENT_ID,
    "error": {
        "code": "unknown_placement",
        "field": "placement",
        "message": "placement: found 'frnt', expected a placement of the configuration (front)",
    },
}

_EVENT_ID_KEY = "The event id (of an array: any, or none)."
_REPLY_HEADERS = {
    name: {
        "type": "string",
        "description": f"As it came with the request, byte for byte, up to {CORRELATION_BYTES} bytes"
        + ("." if name == CORRELATION_HEADERS[0] else " (Spring's name)."),
    }
    for name in CORRELATION_HEADERS
}
_REQUEST_HEADERS = {
    "reply-topic": {
        "type": "string",
        "description": "The full name of the topic for the reply, which must be there, and be allowed by the service's "
        "`reply_topics`. Without it the decision is written to `decisions` only.",
    },
    "correlation-id": {"type": "string", "description": "Comes back with the reply."},
    EXPIRES_HEADER: {
        "type": "string",
        "pattern": "^[0-9]{1,9}$",
        "description": f"How long the request may wait, in milliseconds of the broker's clock, up to "
        f"{LONGEST_EXPIRES_MS}; default: the service's `request_ttl_ms`. What would come later is not decided.",
    },
    "kafka_replyTopic": {"type": "string", "description": "Spring's name of `reply-topic`."},
    "kafka_correlationId": {"type": "string", "description": "Spring's name of `correlation-id`."},
}
_RESENT_HEADERS = {
    RESENT_HEADER: {
        "type": "string",
        "description": "On what was sent again out of the dead letters: its first place, and a digest of its bytes.",
    }
}
_LETTER_HEADERS = {
    "topic": "The topic in which it stood.",
    "partition": "The partition.",
    "offset": "The offset.",
    "index": "Its number in the array, from 0; 0 where the message is not an array.",
    "reason": "Why it could not be used: a code.",
    "message": "Why, as a sentence.",
    "tombstone": "`true` where the message had no value.",
    "count": "Where many items of one array have one reason: the number of items in this letter, an array.",
    "cut-from": "Where the value was too large: its size in bytes before it was cut.",
    "source-key": "The key that its message had.",
    "source-…": (
        "Each header that its message had, under its name; a name that is not UTF-8, or begins with `hex-`, is written"
        " as `hex-` and its bytes in hex."
    ),
    "source-headers-cut": "`true` where the headers of its message were too large to be kept.",
}

_TOPICS: dict[str, dict[str, Any]] = {
    "decision-requests": {
        "summary": "Callers' questions: what to show now?",
        "key": _EVENT_ID_KEY,
        "bytes": INPUT_MESSAGE_BYTES,
        "headers": _REQUEST_HEADERS | _RESENT_HEADERS,
        "example": _REQUEST,
    },
    "decisions": {
        "summary": "The reply and the log in one, in the partition of its request.",
        "key": _EVENT_ID_KEY,
        "bytes": LARGE_MESSAGE_BYTES,
        "example": _DECISION,
    },
    "feedback": {
        "summary": "What people did: a topic for each stream that the configuration names.",
        "key": "The event id, the user's, or none: any partition is right.",
        "bytes": INPUT_MESSAGE_BYTES,
        "headers": _RESENT_HEADERS,
        "example": _CLICK,
    },
    "rewards": {
        "summary": "Outcomes: decisions with the feedback that counted and their reward, of one placement a message.",
        "key": "The placement's name.",
        "bytes": LARGE_MESSAGE_BYTES,
        "example": _OUTCOME,
    },
    "versions": {
        "summary": "Every published version of every policy; the first record names the log. Snapshots repeat the "
        "newest versions: leave them out, or read from the last one on.",
        "key": "The policy's name.",
        "bytes": INPUT_MESSAGE_BYTES,
        "partitions": 1,
        "retention_ms": -1,
        "example": _VERSION,
    },
    "ticks": {
        "summary": "Appended by the roles to learn the broker's clock; nothing to be read by others.",
        "key": "None.",
        "bytes": 1024,
        "partitions": 1,
        "retention_ms": TICKS_RETENTION_MS,
        "example": {"v": 1},
    },
    "dead-letters": {
        "summary": "What could not be used: the bytes as they came (of an array: the item's), the reason in headers.",
        "key": "The topic in which it stood.",
        "bytes": LARGE_MESSAGE_BYTES,
        "headers": {name: {"type": "string", "description": about} for name, about in _LETTER_HEADERS.items()},
    },
    "replies": {
        "summary": "The replies of one caller, in the topic that its requests name.",
        "key": "The event id (of an array: the request's key).",
        "headers": _REPLY_HEADERS,
        "example": _DECISION,
        "examples": {"error": _ERROR},
    },
}
_OPERATIONS = {
    "decide": ("receive", "decision-requests", "Answers a request with a decision, or with an error that says why not"),
    "log-decision": ("send", "decisions", "Logs a decision before its reply is sent"),
    "take-feedback": ("receive", "feedback", "Joins what people did with the decisions"),
    "log-outcome": ("send", "rewards", "Logs the outcome of a decision when its window has closed"),
    "publish-version": ("send", "versions", "Logs each version of a policy when it is published"),
    "tick": ("send", "ticks", "Asks the broker for its clock"),
    "bury": ("send", "dead-letters", "Keeps what could not be used"),
}
_INFO = f"""\
Bowerbird decides what to show, watches what people do, and learns from it. Any program that writes JSON to Kafka can \
ask it and tell it; no library is needed.

A message's value is one JSON object (UTF-8) or an array of them; a producer that batches gets many times the \
throughput. A request that is an array gets one array as its reply, decisions and errors in the places of their \
requests. Every record has `"v": 1` (absent: 1). Fields that are unknown here are kept
and passed on; those of a request are named in `warnings` of its decision.

Topics are created by `bowerbird topics create`, with log-append time: all durations are counted by the broker's \
clock. Anything that cannot be used goes to `dead-letters` and stops nothing. Of an array each item is used by itself, \
if the array is strict JSON (RFC 8259: no `NaN`, no comma after the last item) and has at most {ITEMS_LIMIT:,} items; \
else nothing of it is used, and its bytes are one dead letter. More than {APART} unusable items of one array are one \
letter. A batch of a producer holds at most {BATCH_BYTES // 2**20} MiB and {BATCH_RECORDS:,} records when it is \
decompressed; a larger one is one dead letter.

Limits, if not configured otherwise: a request {Limits().max_request_bytes} bytes, {Limits().max_actions} actions, \
{Limits().max_features} features of a context or an action, {Limits().max_name_bytes} bytes a name; a feedback \
{signature(JoinSettings).parameters["feedback_bytes"].default} bytes."""
_NAMED: tuple[type, ...] = (
    *(record for group in RECORDS.values() for record in group),
    *(LogPosition, LoggedVersion, PickedAction, CountedFeedback, Problem, Rule, Reward, StreamReward),
    *(Shape, UniformWrapper),
)
_CLASSES = {record.__name__: record for record in _NAMED}


def document() -> dict[str, Any]:
    """Return the document: what is sent to which topic by whom, with which key and headers."""
    shapes = schemas()
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Bowerbird",
            "version": CONTRACT_VERSION,
            "description": _INFO,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic: _channel(topic, about) for topic, about in _TOPICS.items()},
        "operations": {
            name: _operation(action, topic, summary) for name, (action, topic, summary) in _OPERATIONS.items()
        },
        "components": {
            "messages": {topic: _message(topic, about, shapes["records"]) for topic, about in _TOPICS.items()},
            "schemas": {name: _schema(name, shape) for name, shape in sorted(shapes["$defs"].items())},
        },
        "x-error-codes": dict(ERROR_CODES),
    }


def text() -> str:
    """Return the document as written to docs/asyncapi.json."""
    return orjson.dumps(document(), option=orjson.OPT_INDENT_2).decode() + "\n"


def _channel(topic: str, about: Mapping[str, Any]) -> dict[str, Any]:
    channel: dict[str, Any] = {"address": None, "summary": about["summary"]}
    if topic != "replies":
        channel["address"] = "{prefix}{stream}" if topic == "feedback" else f"{{prefix}}{topic}"
        channel["parameters"] = {
            "prefix": {
                "description": "The service's setting `prefix`: stands before every topic, so that several services "
                "share a Kafka. Most have none.",
                "default": "",
            }
        }
        if topic == "feedback":
            channel["parameters"]["stream"] = {
                "description": "A stream that a placement of the configuration names.",
                "examples": ["views", "clicks", "purchases"],
            }
    channel["messages"] = {topic: {"$ref": f"#/components/messages/{topic}"}}
    if "bytes" in about:
        retention_ms = about.get("retention_ms")
        channel["bindings"] = {
            "kafka": {
                **({"partitions": about["partitions"]} if "partitions" in about else {}),
                "topicConfiguration": {
                    "cleanup.policy": ["delete"],
                    **({"retention.ms": retention_ms} if retention_ms is not None else {}),
                    "max.message.bytes": about["bytes"],
                    "message.timestamp.type": "LogAppendTime",
                },
                "bindingVersion": "0.5.0",
            }
        }
    return channel


def _operation(action: str, topic: str, summary: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic}"},
        "summary": summary,
        "messages": [{"$ref": f"#/channels/{topic}/messages/{topic}"}],
    }
    if topic == "decision-requests":
        patterns = ", ".join(f"`{pattern}`" for pattern in Config().reply_topics)
        operation["reply"] = {
            "address": {
                "location": "$message.header#/reply-topic",
                "description": f"It must match the service's `reply_topics` behind its prefix, by default {patterns}.",
            },
            "channel": {"$ref": "#/channels/replies"},
            "messages": [{"$ref": "#/channels/replies/messages/replies"}],
        }
    return operation


def _message(topic: str, about: Mapping[str, Any], records: Mapping[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"name": topic, "summary": about["summary"]}
    if "headers" in about:
        message["headers"] = {"type": "object", "properties": about["headers"]}
    if topic in ("decision-requests", "replies"):
        message["correlationId"] = {"location": "$message.header#/correlation-id"}
    message["bindings"] = {"kafka": {"key": {"type": "string", "description": about["key"]}, "bindingVersion": "0.5.0"}}
    if topic == "dead-letters":
        return message | {"contentType": "application/octet-stream"}
    record = _local(records[topic])
    message["payload"] = {"oneOf": [record, {"type": "array", "items": record}]}
    message["examples"] = [{"name": "one", "payload": about["example"]}] + [
        {"name": name, "payload": example} for name, example in about.get("examples", {}).items()
    ]
    return message


def _schema(name: str, shape: Mapping[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = _local(shape)
    if (record := _CLASSES.get(name)) is None:
        return schema
    schema["description"] = _plain(re.split(r"\n\nAttributes\n-+\n", getdoc(record) or "")[0])
    for field, meaning in meanings(record).items():
        own = schema["properties"][field]
        # Draft 7 ignores every other key next to a reference.
        schema["properties"][field] = {"description": _plain(meaning)} | ({"allOf": [own]} if "$ref" in own else own)
    return schema


def _plain(text: str) -> str:
    """Return a docstring's text as Markdown."""
    return re.sub(r":\w+:`~?([^`]*)`", r"`\1`", text.replace("``", "`"))


def _local(shape: Any) -> Any:
    """Return a schema of draft 2020-12 as one of draft 7, its references pointing into the document."""
    if isinstance(shape, list):
        return [_local(each) for each in shape]
    if not isinstance(shape, Mapping):
        return shape
    local = {key: _local(value) for key, value in shape.items()}
    if "$ref" in local:
        local["$ref"] = local["$ref"].replace("#/$defs/", "#/components/schemas/")
    if "prefixItems" in local:
        local["additionalItems"] = local.pop("items", True)
        local["items"] = local.pop("prefixItems")
    return local
