"""A request becomes a decision, or an error that says why not, in two pure steps: open it, then decide it.

Opening decodes and validates; deciding predicts, draws and encodes. Whatever is read from elsewhere is read between
the two, once for a whole batch. The same request and the same version give the same bytes: no clock, no random state.
The decision holds what the request said byte for byte, unknown fields included; only decide's own
fields are set.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from policies.draw import choose, draw
from policies.features import ACTION_FIELDS, Action, decode_action, decode_context
from policies.policy import Policy, check_actions
from policies.question import Pick, Pmf, Question, pmf_of, slots_of
from records.codec import decode, encode
from records.decision import Decision
from records.decision_request import DecisionRequest
from records.error_reply import ErrorReply, Problem
from records.errors import BadInput, StateRefused, shorten
from records.event_id import check_event_id
from records.limits import MOST_NAMED, RECORD_DEPTH, Limits
from records.nesting import check_depth

EVENT_ID_DIGEST_BYTES = 16

NO_DEAD_LETTER = frozenset({"expired", "overloaded"})
"""Errors of a request that was fine: it is answered and counted, and can be sent again; nothing of it is broken."""

REQUEST_FIELDS = DecisionRequest.__struct_fields__
_REQUEST_FIELDS = frozenset(REQUEST_FIELDS)
MOST_WARNINGS = 10

_fields = msgspec.json.Decoder(dict[str, Raw])
_request = msgspec.json.Decoder(DecisionRequest)
_id = msgspec.json.Decoder(str | int)
_NULL = Raw(b"null")
_OWN_FIELDS = frozenset(Decision.__struct_fields__) - _REQUEST_FIELDS
"""What a request says of these is not passed on: only decide sets them."""


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """One version of one policy as it decides for a placement, and what its decisions say of themselves.

    Attributes
    ----------
    name
        The policy's name.
    policy
        Predicts; it is never asked to learn.
    version
        Its name, which the decisions cite.
    salt
        Of the draws.
    rule
        The encoded :class:`records.rule.Rule` that the join will obey.
    """

    name: str
    policy: Policy
    version: str
    salt: str
    rule: bytes


class Decided(NamedTuple):
    """An encoded decision, and what its reply and the metrics need of it."""

    event_id: str
    placement: str
    value: bytes


class Refused(NamedTuple):
    """A request that gets no decision; ``event_id`` and ``placement`` as far as they could be read."""

    event_id: str | None
    placement: str | None
    problem: Problem

    def reply(self) -> bytes:
        """Return the encoded error reply."""
        return encode(ErrorReply(event_id=self.event_id, error=self.problem))


class Opened(NamedTuple):
    """A request that was decoded and validated; it holds no version, since a newer one may come before it is decided.

    Attributes
    ----------
    event_id
        Its own, or the one that was made for it.
    placement
        Where it is to be shown.
    expires_at_ms
        The log time beyond which nobody waits for the reply any more.
    fields
        The request as it came, by field.
    question
        What the policy predicts from.
    """

    event_id: str
    placement: str
    expires_at_ms: int
    fields: dict[str, Raw]
    question: Question

    def refused(self, error: BadInput) -> Refused:
        """Return a refusal of this request."""
        return _refused(error, self.fields)


def made_event_id(cluster_id: str, topic: str, partition: int, offset: int, index: int) -> str:
    """Return the event id of a request that came without one; a redelivered request gets the same.

    >>> made_event_id("c", "decision-requests", 0, 7, 0)
    'e13638e69cabdf630720c7d7aafa482f'
    """
    place = "\0".join((cluster_id, topic, str(partition), str(offset), str(index)))
    return blake2b(place.encode(), digest_size=EVENT_ID_DIGEST_BYTES).hexdigest()


class RequestRules(NamedTuple):
    """What a request must be to be decided here.

    Attributes
    ----------
    placements
        The names of the placements for which is decided.
    overloaded
        Tells whether too many decisions of a placement wait for their window to close.
    action
        Decodes an action, see :meth:`policies.features.ActionCache.action`.
    limits
        What a request may be at most.
    """

    placements: Collection[str]
    overloaded: Callable[[str], bool]
    action: Callable[[bytes, str], Action]
    limits: Limits


def open_request(
    raw: bytes, rules: RequestRules, *, event_id: str, now_ms: int, expires_at_ms: int
) -> Opened | Refused:
    """Decode and validate one request.

    Parameters
    ----------
    raw
        The request as it came.
    rules
        What it must be.
    event_id
        Its name if it brings none.
    now_ms, expires_at_ms
        The broker's time, and the log time beyond which nobody waits for the reply any more.

    Returns
    -------
    Opened or Refused
        Never an exception for what a caller sent.
    """
    placements, limits = rules.placements, rules.limits
    fields: dict[str, Raw] = {}
    try:
        if len(raw) > limits.max_request_bytes:
            raise BadInput("too_large", "value", f"{len(raw)} bytes", f"at most {limits.max_request_bytes} bytes")
        fields = decode(_fields, raw)
        check_depth(raw, RECORD_DEPTH)
        if fields.get("actions", _NULL) == _NULL:
            check_actions(())
        request = decode(_request, raw)
        if request.event_id is not None:
            event_id = check_event_id(request.event_id)
        _check_age(now_ms, expires_at_ms)
        if request.placement not in placements:
            known = ", ".join(sorted(placements)[:MOST_NAMED])
            expected = f"a placement of the configuration ({known})" if known else "a placement of the configuration"
            raise BadInput("unknown_placement", "placement", repr(request.placement), expected)
        if rules.overloaded(request.placement):
            raise BadInput(
                "overloaded",
                "placement",
                "too many decisions that wait for feedback",
                "a request some time later",
            )
        return Opened(event_id, request.placement, expires_at_ms, fields, _question(request, rules.action, limits))
    except BadInput as error:
        return _refused(error, fields)


def decide(opened: Opened, chooser: LoadedPolicy, now_ms: int) -> Decided | Refused:
    """Decide one request that was opened.

    Parameters
    ----------
    opened
        The request.
    chooser
        What decides for its placement.
    now_ms
        The broker's time: the request may have expired since it was opened.

    Returns
    -------
    Decided or Refused
        A policy that raises anything but :class:`records.errors.BadInput` passes it on.
    """
    try:
        _check_age(now_ms, opened.expires_at_ms)
        pmf, picks, ranking = drawn_by(chooser.policy, chooser.salt, opened.event_id, opened.question)
    except BadInput as error:
        return opened.refused(error)
    except StateRefused as error:
        raise error.of_policy(chooser.name) from error
    ids = [one.id for one in opened.question.actions]
    own: dict[str, Any] = {
        "v": 1,
        "event_id": opened.event_id,
        "pmf": pmf,
        "chosen": ids[picks[0].action],
        "propensity": picks[0].propensity,
        "ranking": [ids[index] for index in ranking],
        "policy": chooser.name,
        "policy_version": chooser.version,
        "expires_at_ms": opened.expires_at_ms,
        "rule": Raw(chooser.rule),
    }
    if "top" in opened.fields and opened.fields["top"] != _NULL:
        own["picks"] = [{"action": ids[pick.action], "propensity": pick.propensity} for pick in picks]
    if warned := _warnings(opened.fields, opened.question.actions):
        own["warnings"] = warned
    said = {name: value for name, value in opened.fields.items() if name not in _OWN_FIELDS}
    return Decided(opened.event_id, opened.placement, encode(said | own))


class Drawn(NamedTuple):
    """What was drawn from a policy: the pmf of the first slot, the picks, and the indices of the actions as ranked."""

    pmf: Pmf
    picks: list[Pick]
    ranking: list[int]


def drawn_by(policy: Policy, salt: str, event_id: str, question: Question) -> Drawn:
    """Ask a policy slot by slot, and draw.

    A decision of one slot ranks all actions; a list ranks those that it shows.
    """
    pmf = pmf_of(policy.predict(question))
    if len(question.slots) == 1:
        chosen, ranking = draw(salt, event_id, pmf)
        return Drawn(pmf, [Pick(0, chosen, pmf[chosen])], ranking)
    chosen = choose(salt, event_id, pmf)
    picks = [Pick(0, chosen, pmf[chosen])]
    for slot in range(1, len(question.slots)):
        left = pmf_of(policy.predict(question, picks))
        chosen = choose(salt, event_id, left, slot)
        picks.append(Pick(slot, chosen, left[chosen]))
    return Drawn(pmf, picks, [pick.action for pick in picks])


def _check_age(now_ms: int, expires_at_ms: int) -> None:
    """Refuse a request that nobody waits for any more.

    The time is compared again when the decision has been appended (``stream/roles/deciding.py``, ``Request.appended``),
    and by the join, which learns nothing of an expired decision (``rewards/outcome.py``).
    """
    if now_ms > expires_at_ms:
        raise BadInput("expired", "request", f"{now_ms - expires_at_ms} ms too old", "a younger request")


def _question(request: DecisionRequest, action: Callable[[bytes, str], Action], limits: Limits) -> Question:
    check_actions(request.actions)
    if len(request.actions) > limits.max_actions:
        raise BadInput("too_many_actions", "actions", str(len(request.actions)), f"at most {limits.max_actions}")
    context = decode_context(bytes(request.context), limits)
    actions = [action(bytes(raw), f"actions[{index}]") for index, raw in enumerate(request.actions)]
    ids = [one.id for one in actions]
    if len(set(ids)) < len(ids):
        index = next(index for index, one in enumerate(ids) if one in ids[:index])
        raise BadInput("duplicate_action", f"actions[{index}].id", repr(ids[index]), "an id of its own for each action")
    return Question(context, actions, slots_of(request.top, len(actions)))


def refused(error: BadInput, event_id: str | None = None, placement: str | None = None) -> Refused:
    """Return a refusal for an error."""
    return Refused(event_id, placement, Problem(error.code, error.field, error.message))


def _refused(error: BadInput, fields: Mapping[str, Raw]) -> Refused:
    return refused(error, _text_of(fields, "event_id"), _text_of(fields, "placement"))


def event_id_of(raw: bytes) -> str | None:
    """Return the event id that a request brings, as far as that can be read; for an error that is not about it."""
    try:
        return _text_of(_fields.decode(raw), "event_id")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _text_of(fields: Mapping[str, Raw], name: str) -> str | None:
    try:
        text = _id.decode(fields.get(name, _NULL))
        return check_event_id(text if isinstance(text, str) else str(text))
    except (msgspec.DecodeError, UnicodeDecodeError, BadInput):
        return None


def warnings_of(raw: bytes, limits: Limits) -> list[str]:
    """Return what the reply to a request would warn of: the fields that nothing reads.

    Raises
    ------
    BadInput
        It is no request.

    Examples
    --------
    >>> request = b'{"placement": "front", "actions": [{"id": "a", "feature": {}}], "contextFeatures": {}}'
    >>> warnings_of(request, Limits())[0]
    'contextFeatures: found an unknown field, which nothing reads; did you mean context?'
    """
    actions = [decode_action(bytes(action), limits) for action in decode(_request, raw).actions]
    fields: dict[str, Raw] = decode(_fields, raw)
    return _warnings(fields, actions)


def _warnings(fields: Mapping[str, Raw], actions: Sequence[Action]) -> list[str]:
    """Return a sentence for each field of a request, or of an action, that nothing reads; of a name the first."""
    warnings = [_unknown(name, name, REQUEST_FIELDS) for name in fields if name not in _REQUEST_FIELDS]
    seen: set[str] = set()
    for index, action in enumerate(actions):
        for name in action.unknown:
            if name not in seen:
                seen.add(name)
                warnings.append(_unknown(f"actions[{index}].{name}", name, ACTION_FIELDS))
    return warnings[:MOST_WARNINGS]


@lru_cache(maxsize=1000)
def _unknown(where: str, name: str, known: Sequence[str]) -> str:
    near = get_close_matches(shorten(name), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
    return f"{shorten(where)}: found an unknown field, which nothing reads; {hint}"
