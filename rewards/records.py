"""Every record of the loop, one definition each; their JSON Schemas come from here (:func:`schemas`).

A record is decoded as little as its reader needs: fields that are only passed on stay ``msgspec.Raw`` bytes and
are spliced, so unknown fields survive and features are logged as they came.
"""

import hashlib
import math
import re
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, cast

import msgspec
from msgspec import Meta, Raw

from policies import json_errors
from policies.errors import BadInput
from policies.features import FEATURE_LIMIT
from rewards.rules import REWARD_LIMIT, Rule

FARTHEST_JUMP = 10**12
"""No join gives so many seqs between two outcomes of a policy and shard that follow each other in ``rewards``."""
ITEMS_LIMIT = 10_000
"""Records of one message; more of them cost more than their bytes say."""
NAME_PATTERN = r"^[a-z0-9-]{1,64}$"
EVENT_ID_BYTES = 128
PMF_TOLERANCE = 1e-5
"""How far, relatively, a logged pmf may be from the sum 1, and a logged propensity from its pmf: six digits suffice."""
PMF_EXACT = 1e-6
"""What is further from it has been rounded, and is worth a warning where a log is judged."""
EXTERNAL = "external"
"""The policy version of a decision that another system took (an imported log)."""


def _passed_on(schema: str) -> Meta:
    """Return what the JSON Schema says of an object whose bytes are passed on as they came."""
    return Meta(extra_json_schema={"$ref": f"#/$defs/{schema}"})


RawFeatures = Annotated[Raw, _passed_on("Features")]
RawAction = Annotated[Raw, _passed_on("Action")]
RawRule = Annotated[Raw, _passed_on("Rule")]
RawDecision = Annotated[Raw, _passed_on("Decision")]
RawFeedback = Annotated[Raw, _passed_on("Feedback")]
Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
Version = Literal[1]
LARGEST_INTEGER = 2**53 - 1
"""The largest integer that every reader of JSON takes as it is."""
Integer = Annotated[int, Meta(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)]
Natural = Annotated[int, Meta(ge=0, le=LARGEST_INTEGER)]
Ordinal = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""The number of a partition, a shard or an item: what Kafka and the archive keep in 32 bits."""
ShardName = Annotated[str, Meta(pattern=r"^[0-9]{1,4}$")]
Why = Literal["window", "early", "conflicting", "not_activated", "expired"]


class Place(msgspec.Struct, frozen=True, order=True):
    """Where in the logs a record stands; "first" means first by place.

    Attributes
    ----------
    time_ms
        Its log time: of an item of an array, that of its message.
    topic, partition, offset
        Its message.
    index
        Its number in the array, from 0.
    """

    time_ms: Integer
    topic: str
    partition: Ordinal
    offset: Natural
    index: Ordinal

    def key(self) -> str:
        """Return text that sorts, byte by byte, as the places do.

        >>> Place(1, "clicks", 2, 3, 4).key()
        '00000000000001 clicks 000002 0000000000000003 000004'
        """
        return f"{self.time_ms:014d} {self.topic} {self.partition:06d} {self.offset:016d} {self.index:06d}"

    @classmethod
    def parse(cls, key: str) -> "Place":
        """Return the place that :meth:`key` wrote."""
        time_ms, topic, partition, offset, index = key.split(" ")
        return cls(int(time_ms), topic, int(partition), int(offset), int(index))


class DecisionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A caller asks what to show now.

    Attributes
    ----------
    v
        The version of the record.
    event_id
        The name of the decision, at most 128 bytes; made by decide where it is absent.
    policy
        Which policy decides.
    context
        What is known of the person and the moment.
    actions
        What can be chosen, each with an id of its own.
    user_id
        Passed on, and not used.
    activate
        False: nothing is learned of the decision unless a feedback says ``activate: true``.
    """

    v: Version = 1
    event_id: str | None = None
    policy: Name
    context: RawFeatures = msgspec.field(default_factory=lambda: Raw(b"{}"))
    actions: list[RawAction]
    user_id: str | None = None
    activate: bool = True


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The reply and the log in one: everything of the request, and what was drawn from what.

    Attributes
    ----------
    v, event_id, policy, context, actions, user_id, activate
        As in the request.
    pmf
        The probability mass function that was drawn from, in the order of ``actions``.
    chosen
        The id of the action drawn; ``ranking`` starts with it.
    propensity
        The probability of ``chosen``.
    ranking
        The ids of all actions, drawn one after the other without replacement.
    policy_version
        The version that decided: its number and 8 hex digits of its digest; ``external`` of an imported log.
    expires_at_ms
        Log time beyond which nobody waits for the reply any more; None: never.
    rule
        What the join obeys: window and reward.
    warnings
        Fields of the request that nothing reads, a sentence each; absent where there is none.
    """

    v: Version = 1
    event_id: str
    policy: Name
    context: RawFeatures = msgspec.field(default_factory=lambda: Raw(b"{}"))
    actions: list[RawAction]
    user_id: str | None = None
    activate: bool = True
    pmf: list[float]
    chosen: str
    propensity: Annotated[float, Meta(gt=0, le=1)]
    ranking: list[str] = []
    policy_version: str
    expires_at_ms: Integer | None = None
    rule: RawRule
    warnings: list[str] = []


class ActionHead(msgspec.Struct, frozen=True):
    """The id of an action; its features pass through as bytes."""

    id: str


class DecisionHead(msgspec.Struct, frozen=True, kw_only=True):
    """What the join reads of a :class:`Decision`; the rest passes through as bytes.

    ``user_id``, ``ranking`` and ``warnings`` are read, too: whatever the join takes is a decision to everyone.
    """

    v: Version = 1
    event_id: str
    policy: Name
    actions: list[ActionHead]
    user_id: str | None = None
    pmf: Raw
    chosen: str
    propensity: Annotated[float, Meta(gt=0, le=1)]
    ranking: list[str] = []
    policy_version: str
    activate: bool = True
    expires_at_ms: Integer | None = None
    rule: RawRule
    warnings: list[str] = []


class Feedback(msgspec.Struct, frozen=True, kw_only=True):
    """A thing that a person did after a decision; its identity is (event id, stream, id).

    Attributes
    ----------
    v
        The version of the record.
    id
        The producer's name of this event, at most 128 bytes: sent twice, it counts once. Absent: its place in the
        log is its name, and sent twice it counts twice.
    event_id
        The decision that it belongs to.
    value
        What it is worth, where the policy says ``value = true`` of its stream.
    activate
        True: what was decided was seen, and may be learned.
    """

    v: Version = 1
    id: str | None = None
    event_id: str
    value: Annotated[float, Meta(ge=-REWARD_LIMIT, le=REWARD_LIMIT)] | None = None
    activate: bool | None = None


class CountedFeedback(msgspec.Struct, frozen=True, kw_only=True):
    """A feedback that counted, with its place.

    Attributes
    ----------
    stream
        The name of its stream.
    time_ms, partition, offset, index
        Its log time, and its position in the topic of its stream.
    event
        The feedback itself.
    """

    stream: str
    time_ms: Integer
    partition: Ordinal
    offset: Natural
    index: Ordinal
    event: RawFeedback


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """A decision with the feedback that counted and its reward: one training example.

    Attributes
    ----------
    v
        The version of the record.
    event_id, policy, policy_version
        As in the decision.
    shard
        The part of the join's state in which it closed.
    seq
        The running number of the outcomes of one policy in one shard, without gaps, from 1.
    revision
        0. A reader drops what has another, and a seq that it has had.
    reward
        What the feedback that counted is worth by the decision's rule.
    learn
        False: counted, never learned; ``why`` tells the reason.
    why
        Why it closed: ``window`` and ``early`` are learned; ``conflicting`` (two decisions under one event id),
        ``not_activated`` and ``expired`` (decided when nobody waited any more) are not.
    closed_ms
        The final deadline in log time.
    decision_place
        Topic, partition, offset, index and log time of the decision.
    feedback
        What counted, in the order of its places.
    decision
        The decision itself.
    """

    v: Version = 1
    event_id: str
    policy: Name
    policy_version: str
    shard: Ordinal
    seq: Natural
    revision: Ordinal = 0
    reward: float
    learn: bool
    why: Why
    closed_ms: Integer
    decision_place: Place
    feedback: list[CountedFeedback]
    decision: RawDecision


class PolicyVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A published version of a policy: enough to compute it again from ``rewards``.

    Attributes
    ----------
    v
        The version of the record.
    policy, kind, arguments, salt
        The policy as it is configured; other arguments under the same name are refused.
    number
        1, 2, 3, ...
    version
        The number and the first 8 hex digits of the digest: what decisions cite.
    cut
        The offset of the policy's partition of ``rewards`` up to which (exclusive) this version has learned.
    last_seqs
        Last learned or skipped seq per shard (keys are decimal shard numbers).
    digest
        sha256 of the saved bytes, in hex. Version 0 is computed from the arguments and has no record.
    clip
        The bounds to which probabilities are clipped before they are renormalised.
    examples
        How many outcomes were learned in all, this version included.
    partition
        The policy's partition of ``rewards``.
    published_ms
        When it was published, by the broker's clock.
    vw_build, processor
        Where it was computed: the bytes are the same on the same build and kind of processor.
    control
        What an operator put in force with it: ``freeze``, ``uniform`` or ``unfreeze``; null: it was learned.
    rebuilt_to
        An operator had it computed again from the log: it holds nothing of the outcomes at or above this offset (and
        below ``cut``); null: it was not.
    """

    v: Version = 1
    policy: Name
    number: Natural
    version: str
    kind: str
    arguments: str
    salt: str
    cut: Natural
    last_seqs: dict[ShardName, Natural]
    digest: str
    examples: Natural
    clip: tuple[float, float] = (0.0, 1.0)
    partition: Ordinal = 0
    published_ms: Integer = 0
    vw_build: str = ""
    processor: str = ""
    control: str | None = None
    rebuilt_to: Natural | None = None


class LogIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """The first record of ``versions``: names this log, beside the cluster's id.

    Attributes
    ----------
    v
        The version of the record.
    log_id
        A random name.
    """

    v: Version = 1
    log_id: str


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """Appended to learn the broker's clock.

    Attributes
    ----------
    v
        The version of the record.
    """

    v: Version = 1


class Problem(msgspec.Struct, frozen=True):
    """What was wrong with a request.

    Attributes
    ----------
    code
        For a machine; one of the codes of the contract.
    field
        Where it stands.
    message
        A sentence for people: the field, what was found, what was expected.
    """

    code: str
    field: str
    message: str


class ErrorReply(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to a request that got no decision.

    Attributes
    ----------
    v
        The version of the record.
    event_id
        That of the request, as far as it could be read.
    error
        What was wrong.
    """

    v: Version = 1
    event_id: str | None = None
    error: Problem


Decoded = TypeVar("Decoded")

UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)
"""What decoding raises for bytes that are no such record."""

encode = msgspec.json.Encoder().encode
_CONTROL = re.compile(r"[\x00-\x1f\x7f]").search
_items = msgspec.json.Decoder(list[Raw])
_head = msgspec.json.Decoder(DecisionHead)
_pmf = msgspec.json.Decoder(list[Annotated[float, Meta(ge=0, le=1)]])
_feedback = msgspec.json.Decoder(Feedback)
_rule = msgspec.json.Decoder(Rule)


def far_ahead(last: int, seq: int) -> bool:
    """Tell whether a seq lies so far above the last one that no join has given it: its outcome is passed over.

    >>> far_ahead(7, 9), far_ahead(7, 2**53 - 1)
    (False, True)
    """
    return seq > last + FARTHEST_JUMP


def items(value: bytes | None) -> list[bytes]:
    """Return the records of a message: of an array each item, else the message itself.

    Raises
    ------
    BadInput
        The value is a tombstone, is not UTF-8, is no JSON array although it starts as one (then nothing of it is used,
        whatever its items are), or has more than :data:`ITEMS_LIMIT` items.
    """
    if value is None:
        raise BadInput("tombstone", "value", "null", "a JSON object or an array of them")
    try:
        value.decode()
        if value.lstrip(b" \t\r\n")[:1] != b"[":
            return [value]
        found = _items.decode(value)
        if len(found) > ITEMS_LIMIT:
            size = f"an array of {len(found)} in {len(value)} bytes"
            raise BadInput("too_many_items", "value", size, f"at most {ITEMS_LIMIT} records in a message")
        return [bytes(item) for item in found]
    except UnicodeDecodeError as error:
        raise BadInput("not_utf8", "value", repr(value[error.start : error.start + 8]), "UTF-8") from None
    except UNREADABLE as error:
        malformed = f"{len(value)} bytes of which nothing is used ({json_errors.syntax(error)})"
        raise BadInput("not_json", "value", malformed, "a JSON object or an array of them, strict JSON") from None


def decode(decoder: "msgspec.json.Decoder[Decoded]", value: bytes) -> Decoded:
    """Decode one record; an error becomes a :class:`policies.errors.BadInput` that names the field."""
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as error:
        found = json_errors.told(error, value)
        expected = "1" if found.field == "v" else found.expected
        raise BadInput("invalid_field", found.field or "value", found.found, expected) from None
    except UNREADABLE as error:
        raise BadInput("not_json", "value", json_errors.syntax(error), "a JSON object") from None


def check_event_id(event_id: str) -> str:
    """Return an event id that is fit to be one: 1 to 128 bytes of UTF-8 without control characters."""
    if not 0 < len(event_id.encode()) <= EVENT_ID_BYTES or _CONTROL(event_id):
        found = event_id if len(event_id) <= 40 else event_id[:40] + "…"
        raise BadInput("bad_event_id", "event_id", repr(found), "1 to 128 bytes without control characters")
    return event_id


def decision_head(value: bytes) -> DecisionHead:
    """Decode what the join reads of a decision, and refuse one that could not be closed or learned honestly.

    Raises
    ------
    BadInput
        A field is missing or wrong, or the propensity is not that of the chosen action in the pmf.
    """
    head = decode(_head, value)
    check_event_id(head.event_id)
    rule_of(head.rule)
    _check_propensity(head)
    return head


def _check_propensity(head: DecisionHead) -> None:
    try:
        pmf = _pmf.decode(head.pmf)
    except msgspec.ValidationError as error:
        where = json_errors.told(error, bytes(head.pmf))
        expected = "a probability from 0 to 1" if where.field else "a list of probabilities from 0 to 1"
        raise BadInput("invalid_field", f"pmf{where.field}", where.found, expected) from None
    ids = [action.id for action in head.actions]
    if len(pmf) != len(ids) or not math.isclose(math.fsum(pmf), 1.0, rel_tol=PMF_TOLERANCE):
        found = f"{len(pmf)} probabilities with the sum {math.fsum(pmf):g}"
        raise BadInput("bad_pmf", "pmf", found, f"{len(ids)} probabilities, one an action, with the sum 1")
    if ids.count(head.chosen) != 1:
        raise BadInput("bad_chosen", "chosen", repr(head.chosen), "the id of exactly one of the actions")
    logged = pmf[ids.index(head.chosen)]
    if not math.isclose(logged, head.propensity, rel_tol=PMF_TOLERANCE):
        raise BadInput("bad_propensity", "propensity", repr(head.propensity), f"{logged!r}, as the pmf says")


def feedback(value: bytes) -> Feedback:
    """Decode a feedback record."""
    record = decode(_feedback, value)
    check_event_id(record.event_id)
    if record.id is not None and len(record.id.encode()) > EVENT_ID_BYTES:
        raise BadInput("bad_id", "id", f"{len(record.id.encode())} bytes", f"at most {EVENT_ID_BYTES} bytes")
    return record


def rule_of(raw: Raw) -> Rule:
    """Return the rule that stands in a decision; most decisions share one, so it is kept by its bytes."""
    return _rule_of(bytes(raw))


@lru_cache(maxsize=1024)
def _rule_of(raw: bytes) -> Rule:
    try:
        return decode(_rule, raw)
    except BadInput as error:
        raise BadInput(error.code, f"rule.{error.field}", error.found, error.expected) from None


def fingerprint(head: DecisionHead) -> str:
    """Return what two copies of one decision must share: policy, version, pmf and chosen action."""
    told = "\0".join((head.policy, head.policy_version, bytes(head.pmf).decode(), head.chosen))
    return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


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
    "versions": (PolicyVersion, LogIdentity),
    "ticks": (Tick,),
    "replies": (Decision, ErrorReply),
}
"""Which records a topic may hold, one a message or many in an array."""


def schemas() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of every record, by topic."""
    records = list(dict.fromkeys(record for told in RECORDS.values() for record in told))
    shapes, components = msgspec.json.schema_components([*records, Rule])
    shape = dict(zip(records, shapes, strict=False))
    told = {
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
    return cast("dict[str, Any]", msgspec.json.decode(encode(told)))
