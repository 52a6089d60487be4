"""The health of a log: checks for faults that make the results wrong."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from replay.evaluation.health import checks
from replay.evaluation.health.actions import COUNT
from replay.evaluation.health.arrival import late_rewards
from replay.evaluation.health.state import State
from replay.evaluation.health.statistics import UNITS_RETURN, statistics
from replay.evaluation.intervals.delta import only_reward
from replay.evaluation.logs.unit_like import says
from replay.evaluation.result import Finding
from replay.evaluation.rows import Floats
from replay.evaluation.sample_weights import counted

WRONG_BELOW = 0.05
"""All checks with chance together raise a false alarm in at most so many logs."""
MANY_REPEATED = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFacts:
    """What is known of a log besides its rows.

    Attributes
    ----------
    left_out
        How many decisions could not be used, by reason.
    learned
        From so many of the rows the target has learned.
    expected_shares
        The share of rows that each version, or arm of a test, shall have, by its number.
    actions, versions
        What their numbers mean.
    unit_like
        The column that seems to name units, in a log that names none.
    """

    left_out: Mapping[str, int] = field(default_factory=dict)
    learned: int = 0
    expected_shares: Mapping[int, float] | None = None
    actions: Sequence[str] = ()
    versions: Sequence[str] = ()
    unit_like: str | None = None


NOTHING_ELSE = LogFacts()


def findings(state: State, known: LogFacts = NOTHING_ELSE) -> list[Finding]:
    """Return what the checks found, faults first.

    The p-values of the checks that can call a fault are corrected together (Holm). Drift is reported but is no fault:
    rewards may change, and a policy that learns changes its propensities.

    Parameters
    ----------
    state
        Of all rows of the log.
    known
        What else is known of it.

    Examples
    --------
    >>> from replay.evaluation.rows import EvaluationRows
    >>> half = np.full(1000, 0.5)
    >>> log = EvaluationRows(reward=half, propensity=half, target=half * 0.8)
    >>> found = findings(State.of(log))
    >>> found[0].name, found[0].wrong
    ('mean_weight', True)
    """
    rows = state.rows
    if not rows:
        return []
    chance = _by_chance(state, known.actions)
    if known.expected_shares is not None and state.versions is not None:
        chance.append(_shares(state, known.expected_shares, known.versions))
    corrected = [
        _settled(each, p_value)
        for each, p_value in zip(chance, checks.holm([each.p_value for each in chance]), strict=True)
        if p_value is not None
    ]
    certain = _certain(state, known.left_out, known.learned)
    found = [*corrected, *certain, *_suspicions(state, known.unit_like), *_drift(state)]
    return sorted(found, key=lambda each: not each.wrong)


def _settled(found: Finding, p_value: float) -> Finding:
    wrong = p_value < WRONG_BELOW
    says = f"{_ODD[found.name]}{found.says}" if wrong and found.name in _ODD else found.says
    return msgspec.structs.replace(found, p_value=p_value, wrong=wrong, says=says)


_ODD = {
    "draws": "actions were not drawn as the logged probabilities say: ",
    "inverse_propensity": "propensities are wrong, or rows are missing: ",
}


def _by_chance(state: State, actions: Sequence[str]) -> list[Finding]:
    unseen = (state.unseen or 0.0) / state.size
    mean = state.weight.total / state.size
    less = f" (1 less the {_percent(unseen)} that could not be logged)" if unseen else ""
    if state.unseen is None and mean < 1:
        less = " unless the target does what was hardly or never logged"
    inverse, wanted = _inverse(state)
    return [
        Finding(
            name="mean_weight",
            value=mean,
            expected=1 - unseen,
            p_value=checks.mean_weight(state),
            wrong=False,
            says=f"the mean weight is {mean:.4g}, where right propensities give {1 - unseen:.4g}{less}",
        ),
        Finding(
            name="inverse_propensity",
            value=inverse,
            expected=wanted,
            p_value=checks.inverse_propensity(state),
            wrong=False,
            says=_inverse_says(state, inverse, wanted, actions),
        ),
        Finding(
            name="draws",
            value=None,
            expected=None,
            p_value=checks.draws(state),
            wrong=False,
            says=_draws_says(state),
        ),
    ]


def _draws_says(state: State) -> str:
    if state.ranks is None:
        return ""
    farthest = float(np.abs(state.ranks - state.rows / len(state.ranks)).max()) / state.rows * len(state.ranks)
    return f"one sixteenth of the probability has {_percent(farthest)} more or fewer of the draws than it should"


def _inverse(state: State) -> tuple[float | None, float | None]:
    if state.inverse_off is None or state.actions is None:
        return None, None
    wanted = float(state.rows) * (state.inverse_low if state.inverse_low == state.inverse_high else 0.0)
    total = float(state.actions.sums[1].sum())
    wanted = wanted or total - state.inverse_off.total
    return total / state.rows, wanted / state.rows


def _inverse_says(state: State, inverse: float | None, wanted: float | None, actions: Sequence[str]) -> str:
    if inverse is None or wanted is None:
        return "the mean of 1 / propensity, compared with the number of possible actions"
    text = f"the mean of 1 / propensity is {inverse:.4g}, where right propensities give {wanted:.4g}"
    each = [(value, action) for action, value in enumerate(checks.each_action(state)) if value is not None]
    if state.inverse_low != state.inverse_high or state.actions is None or not each:
        return text
    _, action = min(each)
    of_worst = float(state.actions.sums[1, action]) / state.rows
    called = f"action {actions[action]}" if action < len(actions) else f"action number {action}"
    return f"{text}; farthest off is {called} with {of_worst:.3g} instead of 1"


def _shares(state: State, expected: Mapping[int, float], names: Sequence[str]) -> Finding:
    assert state.versions is not None
    counts = state.versions.sums[COUNT]
    total, every = float(counts.sum()), sum(expected.values())
    far = max(expected, key=lambda number: abs(_at(counts, number) / total - expected[number] / every))
    called = names[far] if far < len(names) else f"number {far}"
    return Finding(
        name="shares",
        value=_at(counts, far) / total,
        expected=expected[far] / every,
        p_value=checks.shares(state, expected),
        wrong=False,
        says=f"version {called} has {_percent(_at(counts, far) / total)} of the rows, and should have "
        f"{_percent(expected[far] / every)}",
    )


def _at(counts: Floats, number: int) -> float:
    return float(counts[number]) if number < len(counts) else 0.0


def _certain(state: State, left_out: Mapping[str, int], learned: int) -> list[Finding]:
    known, rows = statistics(state), state.rows
    certain, repeated = known["certain"] or 0.0, known["repeated"]
    found = [
        _plain(
            "contradicting",
            state.contradicting / rows,
            state.contradicting > 0,
            f"{state.contradicting:,} of {rows:,} rows have a propensity that cannot belong to their probabilities",
        ),
        _plain(
            "deterministic",
            certain,
            certain == 1.0,
            "every action was logged with probability 1: the log cannot show what another policy would have earned"
            if certain == 1.0
            else f"{_percent(certain)} of the actions were logged with probability 1",
        ),
        _plain(
            "learned",
            learned / rows,
            learned > 0,
            f"the target has learned from {learned:,} of {rows:,} rows: its value on them is too good"
            if learned
            else "the target has learned from none of the rows",
        ),
    ]
    if repeated is not None:
        text = f"{_percent(repeated)} of the rows are of an event that came before"
        found.append(_plain("repeated", repeated, repeated > MANY_REPEATED, text))
    each_unit = known["rows_each_unit"]
    if each_unit is not None and each_unit > UNITS_RETURN:
        text = f"{each_unit:.2g} decisions of each unit, which depend on each other: intervals are by unit"
        found.append(msgspec.structs.replace(_plain("rows_each_unit", each_unit, False, text), expected=1.0))
    every = rows + sum(left_out.values())
    for reason, count in sorted(left_out.items()):
        text = f"{count:,} of {every:,} decisions could not be used: {reason.replace('_', ' ')}"
        found.append(_plain(f"left_out_{reason}", count / every, reason == "missing" and count > 0, text))
    return found


def _suspicions(state: State, like: str | None) -> list[Finding]:
    """Return findings that can only be inferred from the log."""
    found = [] if state.sized is None else [counted(state.rows, state.size)]
    if state.units is None:
        text = (
            "no column names a unit (a user): rows are taken as independent; intervals are too narrow if users return"
        )
        found.append(Finding(name="independent_rows", wrong=False, says=text))
    each = None if state.groups is None or state.units is not None else state.groups.rows_each_of(state.rows)
    if like is not None and each is not None and each > UNITS_RETURN:
        found.append(msgspec.structs.replace(_plain("unnamed_unit", each, True, says(like, each)), expected=1.0))
    share = None if state.copies is None else state.copies.share(state.rows)
    if share is not None and share > MANY_REPEATED:
        text = f"{_percent(share)} of the rows are exact copies of others: without event ids each counts as a decision"
        found.append(_plain("copies", share, True, text))
    tail = None if state.periods is None else late_rewards(state.periods)
    if tail is not None:
        text = (
            f"the mean reward of the last {_percent(tail.share)} of the rows is {tail.mean:.3g}, and never was below "
            f"{tail.before:.3g} before: rewards of the last part may not have arrived yet"
        )
        late = _plain("late_rewards", tail.mean, True, text)
        found.append(msgspec.structs.replace(late, expected=tail.before, p_value=tail.p_value))
    return found


def constant_reward(reward: float) -> Finding:
    """Return what is said of a log whose rewards are all the same, and which has no reward range."""
    return _plain("constant_reward", reward, True, only_reward(reward))


def _plain(name: str, value: float, wrong: bool, says: str) -> Finding:
    return Finding(name=name, value=value, expected=0.0, wrong=wrong, says=says)


def _drift(state: State) -> list[Finding]:
    if state.periods is None:
        return []
    found = []
    for column, name in enumerate(("reward", "propensity", "weight")):
        p_value = state.periods.drift(column)
        if p_value is not None:
            changes = "changes" if p_value < WRONG_BELOW else "stays what it is"
            found.append(
                Finding(
                    name=f"drift_of_{name}",
                    value=None,
                    expected=None,
                    p_value=p_value,
                    wrong=False,
                    says=f"the mean {name} {changes} over the log's period",
                )
            )
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
