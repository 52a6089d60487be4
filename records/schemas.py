"""The JSON Schemas of all records."""

from typing import Any, cast

import msgspec

from records.codec import encode
from records.decision import Decision
from records.decision_request import DecisionRequest
from records.error_reply import ErrorReply
from records.feedback import Feedback
from records.fields import NO_LINE_END
from records.limits import FEATURE_LIMIT
from records.log_identity import LogIdentity
from records.outcome import Outcome
from records.policy_version import PolicyVersion
from records.rule import Rule
from records.tick import Tick
from records.versions_snapshot import VersionsSnapshot

FEATURES_SCHEMA: dict[str, Any] = {
    "title": "Features",
    "description": "Namespaces of named values; a value outside of any namespace is in the namespace `f`. "
    "null is absent.",
    "type": ["object", "null"],
    "additionalProperties": {
        "anyOf": [
            {"$ref": "#/$defs/FeatureValue"},
            {"type": "object", "additionalProperties": {"$ref": "#/$defs/FeatureValue"}},
        ]
    },
}
FEATURE_VALUE_SCHEMA: dict[str, Any] = {
    "title": "FeatureValue",
    "description": f"A finite number within ±{FEATURE_LIMIT:g}, a string, a bool, or a list of numbers or of strings.",
    "anyOf": [
        {"type": ["number", "string", "boolean", "null"]},
        {"type": "array", "items": {"type": "number"}},
        {"type": "array", "items": {"type": "string"}},
    ],
}
ACTION_SCHEMA: dict[str, Any] = {
    "title": "Action",
    "description": "One thing that can be chosen; fields that are unknown here are passed on.",
    "type": "object",
    "properties": {
        "id": {"type": "string", "description": "Its name, unlike that of any other action of the request."},
        "features": {"$ref": "#/$defs/Features"},
    },
    "required": ["id"],
}
RECORDS: dict[str, tuple[type[msgspec.Struct], ...]] = {
    "decision-requests": (DecisionRequest,),
    "decisions": (Decision,),
    "feedback": (Feedback,),
    "rewards": (Outcome,),
    "versions": (PolicyVersion, LogIdentity, VersionsSnapshot),
    "ticks": (Tick,),
    "replies": (Decision, ErrorReply),
}
"""Which records a topic may hold, one a message or many in an array."""


def schemas() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of every record, by topic."""
    records = list(dict.fromkeys(record for group in RECORDS.values() for record in group))
    shapes, components = msgspec.json.schema_components([*records, Rule])
    shape = dict(zip(records, shapes, strict=False))
    document = {
        "records": {
            topic: shape[own[0]] if len(own) == 1 else {"oneOf": [shape[record] for record in own]}
            for topic, own in RECORDS.items()
        },
        "$defs": {
            **components,
            "Action": ACTION_SCHEMA,
            "Features": FEATURES_SCHEMA,
            "FeatureValue": FEATURE_VALUE_SCHEMA,
        },
    }
    # In JSON Schema, `$` is the end of the text.
    text = encode(document).replace(encode(NO_LINE_END)[1:-1], b"")
    return cast("dict[str, Any]", msgspec.json.decode(text))
