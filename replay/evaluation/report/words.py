"""The sentences of the report, which explain its numbers."""

from dataclasses import dataclass
from typing import Any

import msgspec

from replay.evaluation.report.numbers import UNKNOWN, brief, days, moment, number, percent, plural, printable, spelled
from replay.evaluation.report.pictures import headline, places_over_time
from replay.evaluation.result import Difference, Finding, Level, Result

NOTED_BELOW = 0.05
_LENGTH = 120
# Sentences, in characters.
_LENGTHS = dict.fromkeys(("sentence", "reasons", "says", "assumption", "estimand", "model", "reference"), 600)
_STATISTICS = {
    "ess_share": "effective sample size as a share of the rows",
    "ess_of_pmf": "effective sample size by whole pmfs",
    "far": "share of rows with weights that are too large",
    "largest_share": "share of all weight: the largest row",
    "largest_percent_share": "share of all weight: the largest 1 % of rows",
    "pareto_k": "Pareto k of the weights",
    "unseen": "the target's share of what could not be logged",
    "zero_share": "share of rows that the target never takes",
    "certain": "share of rows with propensity 1",
    "repeated": "share of rows whose event came before",
    "rows_each_unit": "decisions of each unit",
} | {
    f"{key}_{of}": f"{says} ({of})"
    for of in ("ips", "snips", "dr")
    for key, says in (
        ("variance_ess", "effective rows of the variance"),
        ("unseen_errors", "what was not logged, in standard errors"),
        ("missing_errors", "what the mean weight lacks, in standard errors"),
    )
}
# What is copied to be run again.
_WHOLE = ("command", "digest")


@dataclass(frozen=True, slots=True)
class Judgement:
    """What follows for a decision: a few words, a sentence, and whether it is ``better``, ``worse`` or ``open``."""

    says: str
    why: str
    tone: str


def cleaned(answer: Result, encoding: str = "utf-8") -> Result:
    """Return the same answer; what is not printable in its texts is escaped, what is much too long is shortened.

    Parameters
    ----------
    answer
        With names and sentences of others.
    encoding
        Of where it is written to; what that lacks is escaped too.
    """

    def text(found: str) -> str:
        return printable(found).encode(encoding, "backslashreplace").decode(encoding)

    def clean(value: Any, name: str) -> Any:
        match value:
            case str():
                return text(value if name in _WHOLE else brief(value, _LENGTHS.get(name, _LENGTH)))
            case list() | tuple():
                return [clean(each, name) for each in value]
            case dict():
                return {text(key): clean(each, key) for key, each in value.items()}
            case _:
                return value

    return msgspec.convert(clean(msgspec.to_builtins(answer), ""), type(answer))


def measured(answer: Result) -> str:
    """Return one sentence: of what the value is, and on what it was measured."""
    return f"{answer.how.estimand.rstrip('.')}, estimated from {plural(answer.rows, 'decision')}"


OPEN_SHARE = 0.1
"""Share of open decisions above which the reports mention them next to the first number."""


def left_open(answer: Result) -> str:
    """Return what is to be said of the decisions whose neighbours still wait; nothing where these are few."""
    count = answer.left_out.get("open", 0)
    of = count + answer.rows
    if count <= OPEN_SHARE * of:
        return ""
    return (
        f"{count:,} of {plural(of, 'decision')} do not count yet: they came after the last one whose window ran to its "
        "end. Evaluate again when a later window has ended without feedback that closes it."
    )


def judgement(answer: Result) -> Judgement:
    """Return what the difference means, and when it will show."""
    difference = answer.difference
    if difference is None or difference.value is None:
        return Judgement("The difference is unknown", "The log has no data to estimate it from.", "open")
    if answer.verdict.level == "not reliable":
        return Judgement("No decision by these numbers", "They are not reliable: see why above.", "open")
    if not difference.shows:
        return Judgement("No difference shows yet", f"Its interval holds 0. {_waiting(difference)}", "open")
    better = difference.value > 0
    says = f"{'Better' if better else 'Worse'} than {against(difference)}"
    care = " Use it with care." if answer.verdict.level == "use with care" else ""
    return Judgement(says, f"The interval excludes 0.{care}", "better" if better else "worse")


def against(difference: Difference) -> str:
    """Return what the target is compared with."""
    return "the logged policy" if difference.against in ("logged", "logging policy") else difference.against


def relative(answer: Result) -> str | None:
    """Return the difference in per cent of the base; None if that is not meaningful."""
    difference = answer.difference
    if difference is None or difference.value is None or difference.base is None:
        return None
    base = difference.base
    # Of nothing, or of less, there is no share.
    if abs(difference.value) >= 100 * base:
        return None
    share = difference.value / base
    return f"{'+' if share > 0 else ''}{percent(share)}".replace("-", "\N{MINUS SIGN}")


def course(answer: Result) -> str:
    """Return in words what the picture over time shows."""
    first, last = answer.over_time[0], answer.over_time[-1]
    digits = places_over_time(answer)
    start = f"{moment(first.time_ms)} to {moment(last.time_ms)} UTC" if last.time_ms is not None else "the first row on"
    ends = between(last.low, last.high, digits)
    if ends == UNKNOWN:
        return f"From {start}; at the end {number(last.value, digits)}, from {plural(last.rows, 'row')}. {NO_BAND}."
    return f"From {start}; at the end {number(last.value, digits)}, interval {ends}, from {plural(last.rows, 'row')}."


def sequence(answer: Result) -> str:
    """Return the name of a confidence sequence that was asked for, in brackets; nothing for the default one."""
    named = answer.how.interval != "auto" and answer.over_time_interval
    return f" ({answer.over_time_interval})" if named else ""


NO_BAND = "Nothing bounds what a decision can earn, or rewards lie beyond it (--reward-range)"
"""Why no interval holds at all times."""


def between(low: float | None, high: float | None, digits: int) -> str:
    """Return the ends of an interval, with so many decimals."""
    match low, high:
        case None, None:
            return UNKNOWN
        case None, _:
            return f"{number(high, digits)} or less"
        case _, None:
            return f"{number(low, digits)} or more"
        case _:
            return f"{number(low, digits)} to {number(high, digits)}"


def explained(answer: Result) -> list[str]:
    """Return a sentence for each term of the first screen that is not everyday language."""
    first = headline(answer)
    method = None if first is None else _METHODS.get(first.estimator.removeprefix("balanced-"))
    lines = [
        f"Effective sample size: so many decisions of equal weight say as much as {answer.rows:,} of unequal weight.",
        "Effective rows with a reward: the same number for the decisions that earned something.",
    ]
    if first is not None and method is not None:
        lines.append(f"{first.estimator}: {method}.")
    return lines


_METHODS = {
    "ips": "the mean reward, if each decision counts by how much more often the target takes the logged action",
    "snips": "the mean reward, if each decision counts by how much more often the target takes the logged action, "
    "divided by the mean of these weights",
    "dr": "what a model of rewards predicts for the target, corrected by the weighted errors of its predictions",
}


def statistics(answer: Result) -> dict[str, float | None]:
    """Return all statistics by name, those that every answer has first."""
    always: dict[str, float | None] = {
        "effective sample size": answer.ess,
        "effective rows with a reward": answer.effective_positives,
        "largest weight": answer.max_weight,
        "mean weight": answer.mean_weight,
    }
    known = {*always, "effective positives", "ess", "max weight", "rows"}
    others = {
        name: value
        for name, value in answer.statistics.items()
        # No sentence without a reward model.
        if spelled(name) not in known and not (value is None and name.endswith("_dr"))
    }
    return always | {_STATISTICS.get(name, spelled(name)): value for name, value in others.items()}


def result(finding: Finding) -> tuple[Level, str]:
    """Return how grave a finding is, and what that is called: what chance does not explain need not be a fault."""
    if finding.wrong:
        return "not reliable", "fault"
    if finding.p_value is not None and finding.p_value < NOTED_BELOW:
        return "use with care", "notice"
    return "reliable", "no fault"


def weightiest_first(finding: Finding) -> tuple[bool, float]:
    """Return by what findings are put in order: faults first, and of these what chance explains least."""
    return not finding.wrong, 1.0 if finding.p_value is None else finding.p_value


def assumption(answer: Result) -> str:
    """Return the assumption of the number of days; empty without a number."""
    difference = answer.difference
    if difference is None or difference.days_more is None or answer.verdict.level == "not reliable":
        return ""
    return f"Assumed: {difference.assumption.rstrip('.')}." if difference.assumption else ""


def _waiting(difference: Difference) -> str:
    if difference.days_more is not None:
        more = days(difference.days_more)
        return f"It would show after {more}{' like these' if more.endswith('days') else ''}."
    why = difference.assumption.rstrip(".") or "that cannot be said"
    return f"When would it show? {why[:1].upper()}{why[1:]}."
