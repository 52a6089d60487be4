"""One logged decision, decided again by the version that decided: pmf and draw must be the logged ones, bit for bit."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from policies.decide import drawn_by
from policies.features import decode_action, decode_context
from policies.policy import Policy
from policies.question import Question, slots_of
from policies.training import FEATURE_LIMITS
from records.codec import decode, items
from records.decision import Decision
from records.errors import BadInput
from records.fields import EXTERNAL
from records.message import Message
from records.position import LogPosition

_decision = msgspec.json.Decoder(Decision)


class FoundDecision(NamedTuple):
    """A logged decision and where it stands."""

    position: LogPosition
    decision: Decision


class Part(msgspec.Struct, frozen=True):
    """A part of a decision: what the log says, what was computed, and whether they are the same bit for bit."""

    name: str
    logged: str
    recomputed: str
    identical: bool


class Recomputed(msgspec.Struct, frozen=True, kw_only=True):
    """The result of computing a decision again.

    Attributes
    ----------
    position
        Where the decision stands.
    ok
        Every part is identical.
    reason
        Why it is not, or why it could not be computed.
    parts
        Version, pmf, chosen action, propensity and ranking.
    """

    event_id: str
    policy: str
    policy_version: str
    position: LogPosition
    ok: bool
    reason: str
    parts: list[Part]


NUMBER_DIGITS = 16
"""More than any number of a version has."""


def decisions_of(message: Message, event_id: str) -> list[FoundDecision]:
    """Return the decisions of an event id in a message of ``decisions``; what is no decision is left out."""
    name = event_id.encode()
    value = message.value
    # A search of the bytes first, since almost no message is the right one; an escape may hide the id.
    if value is None or (name not in value and b"\\" not in value):
        return []
    decisions: list[FoundDecision] = []
    try:
        bodies = items(value)
    except BadInput:
        return []
    for index, body in enumerate(bodies):
        try:
            decision = decode(_decision, body)
        except BadInput:
            continue
        if decision.event_id == event_id:
            position = LogPosition(message.time_ms, message.topic, message.partition, message.offset, index)
            decisions.append(FoundDecision(position, decision))
    return decisions


def version_number(name: str) -> int | None:
    """Return the number of a version, or None of a name that no policy of ours has.

    >>> version_number("12-0a1b2c3d"), version_number("external")
    (12, None)
    """
    number, dash, tail = name.partition("-")
    if dash and number.isascii() and number.isdigit() and len(number) <= NUMBER_DIGITS and len(tail) == 8:
        return int(number)
    return None


def not_recomputable(located: FoundDecision, reason: str) -> Recomputed:
    """Return the result for a decision that cannot be computed again."""
    decision = located.decision
    return Recomputed(
        event_id=decision.event_id,
        policy=decision.policy,
        policy_version=decision.policy_version,
        position=located.position,
        ok=False,
        reason=reason,
        parts=[],
    )


def external(located: FoundDecision) -> Recomputed:
    """Return the result for a decision that another system took."""
    return not_recomputable(
        located,
        "another system took this decision (policy_version external): the log holds its pmf, "
        "but neither the weights nor the draw that made it",
    )


def recompute(located: FoundDecision, policy: Policy, version: str, salt: str) -> Recomputed:
    """Decide again.

    Parameters
    ----------
    policy
        The version that decided, rebuilt from the log; ``version`` is the name that its bytes give.
    salt
        Of the draw: that of the version.
    """
    decision = located.decision
    if decision.policy_version == EXTERNAL:
        return external(located)
    try:
        context = decode_context(bytes(decision.context), FEATURE_LIMITS)
        actions = [
            decode_action(bytes(action), FEATURE_LIMITS, f"actions[{index}]")
            for index, action in enumerate(decision.actions)
        ]
        question = Question(context, actions, slots_of(decision.top, len(actions)))
        pmf, picks, ranking = drawn_by(policy, salt, decision.event_id, question)
    except BadInput as error:
        return not_recomputable(located, f"the logged features cannot be used: {error}")
    ids = [action.id for action in actions]
    parts = [
        _part("policy_version", decision.policy_version, version),
        _part("pmf", decision.pmf, pmf),
        _part("chosen", decision.chosen, ids[picks[0].action]),
        _part("propensity", decision.propensity, picks[0].propensity),
        _part("ranking", decision.ranking, [ids[index] for index in ranking]),
    ]
    if decision.top is not None or decision.picks:
        shown = [(ids[pick.action], pick.propensity) for pick in picks] if decision.top is not None else []
        parts.append(_part("picks", [(pick.action, pick.propensity) for pick in decision.picks], shown))
    differing = [part.name for part in parts if not part.identical]
    return Recomputed(
        event_id=decision.event_id,
        policy=decision.policy,
        policy_version=decision.policy_version,
        position=located.position,
        ok=not differing,
        reason="" if not differing else f"{', '.join(differing)}: not what the log says",
        parts=parts,
    )


def _part(name: str, logged: str | float | Sequence[object], recomputed: str | float | Sequence[object]) -> Part:
    return Part(name, repr(logged), repr(recomputed), _same(logged, recomputed))


def _same(logged: object, recomputed: object) -> bool:
    # By repr, which tells two floats apart exactly when their bits differ: 0.0 == -0.0 would not.
    return repr(logged) == repr(recomputed)
