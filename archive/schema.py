"""The columns of the archive, by topic."""

import msgspec
import pyarrow as pa

TOPICS = ("decisions", "rewards", "versions", "dead-letters")
"""What is archived, without the prefix."""
SCHEMA_VERSION = b"1"


class ArchivedAction(msgspec.Struct, frozen=True, gc=False):
    """An action as the archive keeps it: its id, and its features as they came."""

    id: str
    features: msgspec.Raw = msgspec.Raw(b"{}")


TIME = pa.timestamp("ms", tz="UTC")
_TEXTS = pa.list_(pa.string())
_NUMBERS = pa.list_(pa.float64())
PLACE = [
    ("log_time", TIME),
    ("topic", pa.string()),
    ("partition", pa.int32()),
    ("offset", pa.int64()),
    ("index", pa.int32()),
    ("batch", pa.int32()),
    ("key", pa.binary()),
    ("raw", pa.binary()),
    ("problem", pa.string()),
]
_WHOSE = [
    ("event_id", pa.string()),
    ("placement", pa.string()),
    ("policy", pa.string()),
    ("policy_version", pa.string()),
]
ACTION = pa.struct([("id", pa.string()), ("features", pa.string())])
_DRAWN = [
    ("user_id", pa.string()),
    ("activate", pa.bool_()),
    ("context", pa.string()),
    ("actions", pa.list_(ACTION)),
    ("pmf", _NUMBERS),
    ("chosen", pa.string()),
    ("propensity", pa.float64()),
    ("ranking", _TEXTS),
    ("top", pa.int32()),
    ("picks", pa.list_(pa.struct([("action", pa.string()), ("propensity", pa.float64())]))),
    ("expires_at_ms", pa.int64()),
    ("rule", pa.string()),
]
_HASHES = [("event_hash", pa.uint64()), ("unit_hash", pa.uint64())]
_FEEDBACK = pa.struct(
    [
        ("stream", pa.string()),
        ("log_time", TIME),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("index", pa.int32()),
        ("id", pa.string()),
        ("value", pa.float64()),
        ("activate", pa.bool_()),
        ("event", pa.string()),
    ]
)
_COLUMNS = {
    "decisions": [*PLACE, *_WHOSE, *_DRAWN, *_HASHES],
    "rewards": [
        *PLACE,
        *_WHOSE,
        ("shard", pa.int32()),
        ("outcome_seq", pa.int64()),
        ("revision", pa.int32()),
        ("reward", pa.float64()),
        ("rewards", _NUMBERS),
        ("places", pa.int32()),
        ("learn", pa.bool_()),
        ("why", pa.string()),
        ("closed_at", TIME),
        ("streams", _TEXTS),
        ("feedback", pa.list_(_FEEDBACK)),
        ("decided_at", TIME),
        ("decision_topic", pa.string()),
        ("decision_partition", pa.int32()),
        ("decision_offset", pa.int64()),
        ("decision_index", pa.int32()),
        *_DRAWN,
        *_HASHES,
    ],
    "versions": [
        *PLACE,
        ("log_id", pa.string()),
        ("policy", pa.string()),
        ("number", pa.int64()),
        ("version", pa.string()),
        ("kind", pa.string()),
        ("arguments", pa.string()),
        ("salt", pa.string()),
        ("placements", pa.list_(pa.string())),
        ("cut", pa.int64()),
        (
            "last_seqs",
            pa.list_(pa.struct([("placement", pa.string()), ("shard", pa.int32()), ("outcome_seq", pa.int64())])),
        ),
        ("digest", pa.string()),
        ("examples", pa.int64()),
        ("rewards_partition", pa.int32()),
        ("published_at", TIME),
        ("vw_build", pa.string()),
        ("processor", pa.string()),
        ("control", pa.string()),
        ("shape", pa.string()),
    ],
    "dead-letters": [
        *PLACE,
        ("source_topic", pa.string()),
        ("source_partition", pa.int32()),
        ("source_offset", pa.int64()),
        ("source_index", pa.int32()),
        ("reason", pa.string()),
        ("message", pa.string()),
        ("headers", pa.list_(pa.struct([("name", pa.string()), ("content", pa.binary())]))),
    ],
}
SCHEMAS = {
    topic: pa.schema(columns, metadata={b"bowerbird_archive": SCHEMA_VERSION}) for topic, columns in _COLUMNS.items()
}
"""The schema of each topic's files."""
COMPUTED = tuple(name for name, _ in _HASHES)
"""Columns that are computed from others: rows come without them, and files that are older do not have them."""
REPEATED = (
    "topic",
    "problem",
    "placement",
    "policy",
    "policy_version",
    "why",
    "kind",
    "arguments",
    "reason",
    "rule",
    "chosen",
)
"""Columns whose values repeat; only these are worth a dictionary in a file."""
