"""From a message of ``rewards`` to what a policy learns from."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Raw

from policies.features import Action, ActionCache, Features, decode_context
from policies.policy import Policy
from policies.question import Pick, Question, ranked
from records.codec import decode, items
from records.decision import PickedAction
from records.errors import BadInput
from records.fields import Ordinal, Positive
from records.limits import ITEMS_LIMIT, Limits
from records.outcome import outbox_name

FEATURE_LIMITS = Limits(
    max_features=1_000_000,
    max_name_bytes=1_000_000,
    max_string_bytes=4_000_000,
    max_list=1_000_000,
    max_actions=1_000_000,
    max_request_bytes=16_000_000,
)
"""What decide let in is learned: whether an outcome is refused must not depend on today's settings."""
CATALOGUE_BYTES = 64 * 2**20


class TrainingExample(msgspec.Struct, frozen=True, gc=False):
    """What learning reads of a decision."""

    actions: list[Raw]
    chosen: str
    propensity: float
    context: Raw = Raw(b"{}")
    picks: list[PickedAction] = []


class _Numbered(msgspec.Struct, frozen=True, gc=False):
    placement: str
    shard: Ordinal
    outcome_seq: Positive
    reward: float
    learn: bool

    @property
    def outbox(self) -> str:
        """See :func:`records.outcome.outbox_name`."""
        return outbox_name(self.placement, self.shard)


class LearnableOutcome(_Numbered, frozen=True, gc=False):
    """What learning reads of a :class:`records.outcome.Outcome`; ``decision`` only where it is learned."""

    decision: Raw
    rewards: list[float] = []
    revision: Ordinal = 0
    event_id: str = ""


class _Whole(_Numbered, frozen=True, gc=False):
    """An outcome decoded in one go, since reading the decision's bytes twice would cost a tenth of the rate."""

    decision: TrainingExample
    rewards: list[float] = []
    revision: Ordinal = 0
    event_id: str = ""


OutcomeToLearn = LearnableOutcome | _Whole
_wholes = msgspec.json.Decoder(list[_Whole]).decode
_outcome = msgspec.json.Decoder(LearnableOutcome)
_lesson = msgspec.json.Decoder(TrainingExample)


class Unreadable(NamedTuple):
    """A record of ``rewards`` that is no outcome: its index in the message, its bytes, what is wrong with it."""

    index: int  # type: ignore[assignment]
    value: bytes | None
    error: BadInput


def outcomes_in(value: bytes | None) -> tuple[Sequence[OutcomeToLearn], list[Unreadable]]:
    """Return the outcomes of a message of ``rewards``, and the records that are not outcomes.

    Examples
    --------
    >>> outcomes_in(b"[1]")[1][0].error.code
    'invalid_field'
    """
    try:
        if value is not None and len(wholes := _wholes(value)) <= ITEMS_LIMIT:
            return wholes, []
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        pass  # one of them is not as it should be: one by one, to find out which
    try:
        records = items(value)
    except BadInput as error:
        return [], [Unreadable(0, value, error)]
    outcomes: list[OutcomeToLearn] = []
    unreadable: list[Unreadable] = []
    for index, record in enumerate(records):
        try:
            outcomes.append(decode(_outcome, record))
        except BadInput as error:
            unreadable.append(Unreadable(index, record, error))
    return outcomes, unreadable


def outcomes_of(placements: Collection[str], value: bytes | None) -> list[OutcomeToLearn]:
    """Return the outcomes of some placements in a message of ``rewards``; what is unreadable was reported before."""
    return [outcome for outcome in outcomes_in(value)[0] if outcome.placement in placements]


class Example(NamedTuple):
    """What a policy sees of an outcome: what was asked, and what was shown."""

    question: Question
    picks: list[Pick]


def example_of(outcome: OutcomeToLearn, catalogue: ActionCache) -> Example:
    """Return an outcome as a policy sees it.

    Raises
    ------
    BadInput
        It cannot be read, or its chosen action is not one of its actions.
    """
    lesson = outcome.decision
    if not isinstance(lesson, TrainingExample):
        lesson = decode(_lesson, bytes(lesson))
    context = decode_context(lesson.context, FEATURE_LIMITS)
    actions = catalogue.actions(lesson.actions)
    if lesson.picks:
        return _list_of(context, actions, lesson.picks)
    chosen = lesson.chosen
    for index, shown in enumerate(actions):
        if shown.id == chosen:
            return Example(Question(context, actions), [Pick(0, index, lesson.propensity)])
    raise BadInput("chosen_unknown", "chosen", repr(chosen), f"the id of one of {len(actions)} actions")


def _list_of(context: Features, actions: list[Action], picked: Sequence[PickedAction]) -> Example:
    index_of = {action.id: index for index, action in enumerate(actions)}
    picks = []
    for place, pick in enumerate(picked):
        if (index := index_of.get(pick.action)) is None:
            expected = f"the id of one of {len(actions)} actions"
            raise BadInput("chosen_unknown", f"picks[{place}].action", repr(pick.action), expected)
        picks.append(Pick(place, index, pick.propensity))
    return Example(Question(context, actions, ranked(len(picks))), picks)


def learn(policy: Policy, outcome: OutcomeToLearn, catalogue: ActionCache) -> None:
    """Let a policy learn an outcome.

    Raises
    ------
    BadInput
        The policy cannot learn it, and is as it was before.
    """
    question, picks = example_of(outcome, catalogue)
    rewards = outcome.rewards or [outcome.reward]
    if len(rewards) != len(picks):
        raise BadInput("rewards_mismatch", "rewards", f"{len(rewards)} numbers", f"{len(picks)}, one for each place")
    policy.learn(question, picks, rewards)


def action_cache() -> ActionCache:
    """Return a catalogue for learning: what was logged is never too large."""
    return ActionCache(FEATURE_LIMITS, max_bytes=CATALOGUE_BYTES)
