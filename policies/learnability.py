"""Whether a policy can learn: its crossings are sent, its context is used, its probabilities follow the rewards.

Pure functions of a sample of decisions and outcomes. ``bowerbird status`` and ``check`` take it from the topics, the
learn role from what it learns.
"""

import math
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from msgspec import Raw

from policies.features import decode_context
from policies.training import FEATURE_LIMITS, action_cache
from policies.vw.arguments import Arguments, parse
from policies.vw.text import ID_NAMESPACE, letter_of
from records.codec import UNREADABLE
from records.errors import BadInput
from records.fields import EXTERNAL

KEPT = 2000
"""Decisions, and outcomes, that a sight keeps of a policy."""
FEW = 20
"""Nothing is said of fewer decisions, or of an action with fewer rewards."""
MOVED = 0.01
"""A probability that has changed by less stands."""
CLEARLY = 5.0
"""Standard errors between two actions whose rewards differ beyond doubt."""
SETTLED_MS = 15_000
"""What was earned so long before a decision could have been learned by then."""
PER_MESSAGE = 20

CROSSED_NOT_SENT = "crossed_not_sent"
SENT_NOT_USED = "sent_not_used"
PROBABILITIES_STAND = "probabilities_stand"
REASONS = (CROSSED_NOT_SENT, SENT_NOT_USED, PROBABILITIES_STAND)

_OTHER_WAYS = (
    "automl",
    "experimental_full_name_interactions",
    "interact",
    "lrq",
    "lrqfa",
    "marginal",
    "nn",
    "redefine",
)
"""Arguments by which a context is learned from without a crossing, or under another letter."""


class Symptom(msgspec.Struct, frozen=True, kw_only=True):
    """A reason why a policy does not learn what it could.

    Attributes
    ----------
    reason
        ``crossed_not_sent``, ``sent_not_used`` or ``probabilities_stand``.
    fatal
        Whether it learns nothing at all, of its context or of its actions; else a part is not learned.
    sentence
        What was seen, and what to do.
    """

    reason: str
    fatal: bool
    sentence: str


class Shown(NamedTuple):
    """What was sent with a decision, as namespaces, and the probabilities of its actions.

    Attributes
    ----------
    bare
        Whether an action brought no feature.
    pmf
        By action; empty: another policy decided.
    """

    time_ms: int
    context: frozenset[str]
    actions: frozenset[str]
    bare: bool
    pmf: dict[str, float]


class Earned(NamedTuple):
    """The reward of an outcome, by the action in the first place."""

    time_ms: int
    action: str
    reward: float


class _Place(msgspec.Struct, frozen=True, gc=False):
    time_ms: int


class _Decision(msgspec.Struct, frozen=True, gc=False):
    placement: str
    policy: str
    actions: list[Raw]
    pmf: list[float]
    chosen: str
    policy_version: str
    context: Raw = Raw(b"{}")


class _Outcome(msgspec.Struct, frozen=True, gc=False):
    policy: str
    reward: float
    learn: bool
    decision: _Decision
    decision_position: _Place
    rewards: list[float] = []


_items = msgspec.json.Decoder(list[Raw]).decode
_decision = msgspec.json.Decoder(_Decision).decode
_outcome = msgspec.json.Decoder(_Outcome).decode


class Sight:
    """The decisions and rewards of one policy that were seen lately, bounded."""

    def __init__(self) -> None:
        self._shown: deque[Shown] = deque(maxlen=KEPT)
        self._earned: deque[Earned] = deque(maxlen=KEPT)

    def show(self, shown: Shown) -> None:
        """Take a decision."""
        self._shown.append(shown)

    def earn(self, earned: Earned) -> None:
        """Take an outcome."""
        self._earned.append(earned)

    def symptoms(self, name: str, arguments: str, *, held: bool = False) -> list[Symptom]:
        """Return why the policy does not learn what it could; an empty list: nothing that can be seen.

        Parameters
        ----------
        name, arguments
            The policy, of kind ``vw``.
        held
            Whether an operator has put a control in force, so that nothing is learned on purpose.
        """
        parsed = parse(arguments)
        symptoms = _unmet(name, parsed, self._shown) if len(self._shown) >= FEW else []
        if not held and not parsed.has("first") and (stands := _stands(name, self._shown, self._earned)) is not None:
            symptoms.append(stands)
        return symptoms


class Sights:
    """The sights of several policies, fed with messages of ``decisions`` and ``rewards``.

    Parameters
    ----------
    policies
        The placements of which each policy learns; what no policy decides or learns is passed over.
    """

    def __init__(self, policies: Mapping[str, Iterable[str]]) -> None:
        self.of = {name: Sight() for name in policies}
        self._learns = {name: frozenset(placements) for name, placements in policies.items()}
        self._catalogue = action_cache()

    def decisions(self, value: bytes | None, time_ms: int) -> None:
        """Take a message of ``decisions``: of an array the last few."""
        for raw in _last(value):
            try:
                decision = _decision(raw)
                self._show(decision, time_ms)
            except (*UNREADABLE, BadInput):
                continue

    def outcomes(self, value: bytes | None, time_ms: int, *, decisions: bool = False) -> None:
        """Take a message of ``rewards``: of an array the last few.

        Parameters
        ----------
        decisions
            Take the decision in each outcome too.
        """
        for raw in _last(value):
            try:
                outcome = _outcome(raw)
                if not outcome.learn or outcome.decision.policy_version == EXTERNAL:
                    continue
                if (decided := self.of.get(outcome.policy)) is not None:
                    reward = outcome.rewards[0] if outcome.rewards else outcome.reward
                    decided.earn(Earned(time_ms, outcome.decision.chosen, reward))
                if decisions:
                    self._show(outcome.decision, outcome.decision_position.time_ms)
            except (*UNREADABLE, BadInput):
                continue

    def _show(self, decision: _Decision, time_ms: int) -> None:
        """Show a decision to the policy that made it, and without its pmf to those that learn from it."""
        names = [name for name in self.of if name == decision.policy or decision.placement in self._learns[name]]
        if not names or decision.policy_version == EXTERNAL:
            return
        shown = self._shown(decision, time_ms)
        for name in names:
            self.of[name].show(shown if name == decision.policy else shown._replace(pmf={}))

    def _shown(self, decision: _Decision, time_ms: int) -> Shown:
        context = decode_context(decision.context, FEATURE_LIMITS)
        actions = self._catalogue.actions(decision.actions)
        namespaces = frozenset(name for action in actions for name in action.features)
        bare = not all(action.features for action in actions)
        pmf = {action.id: probability for action, probability in zip(actions, decision.pmf, strict=False)}
        return Shown(time_ms, frozenset(context), namespaces, bare, pmf)


def _last(value: bytes | None) -> list[bytes]:
    value = value or b""
    if value.lstrip()[:1] != b"[":
        return [value]
    try:
        return [bytes(raw) for raw in _items(value)[-PER_MESSAGE:]]
    except UNREADABLE:
        return []


class _Sent(NamedTuple):
    """The namespaces that decisions had, by their letters; of how many decisions."""

    context: Mapping[str, set[str]]
    action: Mapping[str, set[str]]
    decisions: int

    @property
    def letters(self) -> set[str]:
        """All that a crossing can name."""
        return {*self.context, *self.action, ":"}


def _unmet(name: str, parsed: Arguments, shown: Sequence[Shown]) -> list[Symptom]:
    """Return which crossings no decision has had, and which namespaces of contexts no crossing brings to an action."""
    if parsed.has(*_OTHER_WAYS):
        return []
    context = _by_letter((one.context for one in shown), parsed.letters)
    lower = _by_letter((one.actions for one in shown), parsed.letters)
    action = {letter.upper(): names for letter, names in lower.items()}
    if parsed.id_as_feature:
        action["_"] = {"the id"}
    elif any(one.bare for one in shown):
        action.setdefault(letter_of(ID_NAMESPACE, parsed.letters).upper(), {"the id"})
    sent = _Sent(context, action, len(shown))
    dead = [crossing for crossing in parsed.crossings if not set(crossing) <= sent.letters]
    alive = [crossing for crossing in parsed.crossings if crossing not in dead]
    meeting = [crossing for crossing in alive if any(letter in action or letter == ":" for letter in crossing)]
    met = {letter for crossing in meeting for letter in crossing}
    ignored = {letter for part in parsed.command if part.startswith("--ignore=") for letter in part[9:]}
    unused = sorted(
        own for letter, names in context.items() if not {letter, ":"} & met and letter not in ignored for own in names
    )
    symptoms: list[Symptom] = []
    if dead:
        symptoms.append(_not_sent(name, dead, sent, fatal=not alive))
    if unused:
        symptoms.append(_not_used(name, unused, action, fatal=not meeting and not dead))
    return symptoms


def _by_letter(sent: Iterable[frozenset[str]], letters: Mapping[str, str]) -> dict[str, set[str]]:
    by_letter: dict[str, set[str]] = defaultdict(set)
    for namespace in {name for names in sent for name in names}:
        by_letter[letter_of(namespace, letters)].add(namespace)
    return dict(by_letter)


def _not_sent(name: str, dead: Sequence[str], sent: _Sent, fatal: bool) -> Symptom:
    missing = sorted({letter for crossing in dead for letter in crossing} - sent.letters)
    whose = "an action" if missing[0].isupper() or missing[0] == "_" else "the context"
    return Symptom(
        reason=CROSSED_NOT_SENT,
        fatal=fatal,
        sentence=(
            f"{name} {'learns nothing of its context' if fatal else 'does not learn all that its arguments cross'}: "
            f"{_options(dead)} need{'s' * (len(dead) == 1)} a namespace of {whose} with the letter {missing[0]}, and "
            f"none of the last {sent.decisions} decisions had one (they had {_listed(sent.context, sent.action)}). "
            "Send it, or give a new policy other arguments: a namespace of the context has its first letter in lower "
            "case, one of an action in upper case."
        ),
    )


def _not_used(name: str, unused: Sequence[str], action: Mapping[str, set[str]], fatal: bool) -> Symptom:
    letters = sorted({namespace[:1].lower() for namespace in unused})
    crossings = " ".join(f"-q {letter}{min(action, default='A')}" for letter in letters)
    many = len(unused) > 1
    return Symptom(
        reason=SENT_NOT_USED,
        fatal=fatal,
        sentence=(
            f"{name} learns nothing of the context's namespace{'s' * many} {', '.join(unused)}: no crossing brings "
            f"{'them' if many else 'it'} together with an action. Give a new policy arguments with `{crossings}`."
        ),
    )


def _options(crossings: Sequence[str]) -> str:
    options = [f"{'-q' if len(crossing) == 2 else '--interactions'} {crossing}" for crossing in crossings]
    return ", ".join(f"`{each}`" for each in options)


def _listed(context: Mapping[str, set[str]], action: Mapping[str, set[str]]) -> str:
    texts = [f"{letter} ({', '.join(sorted(names))})" for part in (context, action) for letter, names in part.items()]
    return ", ".join(sorted(texts)) or "no namespace"


def _stands(name: str, shown: Sequence[Shown], earned: Sequence[Earned]) -> Symptom | None:
    """Return that the probabilities stand although one action clearly earns more than another that is as probable."""
    ordered = sorted((one for one in shown if one.pmf), key=lambda one: one.time_ms)
    if not ordered:
        return None
    ids = ordered[-1].pmf.keys()
    alike = [one for one in ordered if one.pmf.keys() == ids]
    if len(alike) < 2 * FEW or any(
        max(one.pmf[action] for one in alike) - min(one.pmf[action] for one in alike) > MOVED for action in ids
    ):
        return None
    before_ms = alike[-FEW].time_ms - SETTLED_MS
    rewards: dict[str, list[float]] = {action: [] for action in ids}
    for one in earned:
        if one.time_ms < before_ms and one.action in rewards:
            rewards[one.action].append(one.reward)
    known = {action: own for action, own in rewards.items() if len(own) >= FEW}
    if not known:
        return None
    best = max(known, key=lambda action: math.fsum(known[action]) / len(known[action]))
    pmf = alike[-1].pmf
    for other, own in known.items():
        if other != best and pmf[best] <= pmf[other] + MOVED and _clearly_more(known[best], own):
            return Symptom(
                reason=PROBABILITIES_STAND,
                fatal=True,
                sentence=(
                    f"{name} does not learn: {best} earns {_mean(known[best]):.3g} and {other} {_mean(own):.3g} on "
                    f"average, but their probabilities stand at {pmf[best]:.3f} and {pmf[other]:.3f} in the last "
                    f"{len(alike)} decisions. Actions that bring the same features cannot be distinguished: send "
                    "features that differ, none at all (then the id is learned), or use `--id_as_feature`; a "
                    "learning rate may also be too small."
                ),
            )
    return None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _clearly_more(more: Sequence[float], less: Sequence[float]) -> bool:
    both = [*more, *less]
    middle = _mean(both)
    spread = math.fsum((value - middle) ** 2 for value in both) / len(both)
    error = math.sqrt(spread * (1 / len(more) + 1 / len(less)))
    return _mean(more) - _mean(less) > CLEARLY * error > 0
