"""The reply and the log in one."""

import hashlib
import math
from collections import Counter
from typing import Annotated

import msgspec
from msgspec import Meta, Raw

from records import json_errors
from records.codec import decode, encode
from records.errors import BadInput
from records.event_id import check_event_id
from records.fields import Integer, Name, Places, RawAction, RawFeatures, RawRule, Version
from records.limits import PMF_TOLERANCE
from records.rule import rule_of

Propensity = Annotated[float, Meta(gt=0, le=1)]


class PickedAction(msgspec.Struct, frozen=True, kw_only=True):
    """The action in one place of a ranked list.

    Attributes
    ----------
    action
        The id of the action.
    propensity
        The probability with which it was drawn, given the places before it.
    """

    action: str
    propensity: Propensity


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """The reply and the log in one: everything of the request, and what was drawn from what.

    Attributes
    ----------
    v, event_id, placement, context, actions, top, user_id, activate
        As in the request.
    pmf
        The probability mass function that was drawn from, in the order of ``actions``.
    chosen
        The id of the action drawn; ``ranking`` starts with it.
    propensity
        The probability of ``chosen``.
    ranking
        The ids of all actions, drawn one after the other without replacement; of a ranked list those of its places.
    picks
        The action in each place of a ranked list; absent in other decisions.
    policy
        Which policy decided.
    policy_version
        The version of it that decided: its number and 8 hex digits of its digest; ``external`` of an imported log.
    expires_at_ms
        Log time beyond which nobody waits for the reply any more; None: never.
    rule
        What the join obeys: window and reward.
    warnings
        Fields of the request that nothing reads, a sentence each; absent if there are no such fields.
    """

    v: Version = 1
    event_id: str
    placement: Name
    context: RawFeatures = msgspec.field(default_factory=lambda: Raw(b"{}"))
    actions: list[RawAction]
    top: Places | None = None
    user_id: str | None = None
    activate: bool = True
    pmf: list[float]
    chosen: str
    propensity: Propensity
    ranking: list[str] = []
    picks: list[PickedAction] = []
    policy: Name
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
    placement: Name
    actions: list[ActionHead]
    user_id: str | None = None
    pmf: Raw
    chosen: str
    propensity: Propensity
    ranking: list[str] = []
    picks: list[PickedAction] = []
    policy: Name
    policy_version: str
    activate: bool = True
    expires_at_ms: Integer | None = None
    rule: RawRule
    warnings: list[str] = []

    @property
    def shown(self) -> list[str]:
        """The ids of what was chosen, in the order of the places."""
        return [pick.action for pick in self.picks] or [self.chosen]


_head = msgspec.json.Decoder(DecisionHead)
_pmf = msgspec.json.Decoder(list[Annotated[float, Meta(ge=0, le=1)]])


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
        where = json_errors.described(error, bytes(head.pmf))
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
    if head.picks:
        _check_picks(head, ids)


def _check_picks(head: DecisionHead, ids: list[str]) -> None:
    first = PickedAction(action=head.chosen, propensity=head.propensity)
    if head.picks[0] != first:
        raise BadInput("bad_picks", "picks[0]", repr(head.picks[0]), "the chosen action with its propensity")
    times, shown = Counter(ids), set[str]()
    for place, action in enumerate(pick.action for pick in head.picks):
        if times[action] != 1 or action in shown:
            expected = "the id of exactly one of the actions, of none before it"
            raise BadInput("bad_picks", f"picks[{place}].action", repr(action), expected)
        shown.add(action)


def fingerprint(head: DecisionHead) -> str:
    """Return what two copies of one decision must share: placement, policy, version, pmf and what was chosen."""
    content = [head.placement, head.policy, head.policy_version, head.pmf, head.chosen, head.picks]
    return hashlib.blake2b(encode(content), digest_size=8).hexdigest()
