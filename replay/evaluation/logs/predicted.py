"""Predictions of a policy for logged decisions, from the context and the actions of each."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from policies.features import ActionCache
from policies.policy import Policy
from policies.question import pmf_of
from policies.training import Example, example_of, outcomes_in
from records.errors import BadInput
from records.limits import PMF_TOLERANCE
from replay.evaluation.logs.lists import propensities
from replay.evaluation.logs.outcome_rows import OutcomeRows
from replay.evaluation.logs.pmf import Numbers, Pmfs
from replay.evaluation.rows import Flags, Floats


class Predicted(NamedTuple):
    """Predictions of a policy.

    Attributes
    ----------
    pmfs, chosen
        Of the rows that it does not refuse: its probabilities, and the index of the logged action.
        Of a ranked list, those of its first place.
    by_place
        Its probabilities of what was shown down to each place; of one action, of that alone.
    refused
        Whether it refuses the features: shape (rows,).
    """

    pmfs: list[list[float]]
    chosen: Numbers
    by_place: list[list[float]]
    refused: Flags

    @property
    def target(self) -> Floats:
        """Its probability of what was shown, of the logged action or of the whole list: shape (rows,)."""
        return np.array([each[-1] for each in self.by_place], dtype=float)

    def flat(self, rows: OutcomeRows, logged: Pmfs) -> Floats:
        """Return the probabilities of all actions of all rows, as ``logged.values``."""
        counts = np.array([len(pmf) for pmf in self.pmfs], dtype=np.int64)
        if not (alike := counts == logged.counts).all():
            row = int(np.argmin(alike))
            raise rows.bad("pmf", row, f"{logged.counts[row]} probabilities", f"{counts[row]}, one an action")
        return np.array([probability for pmf in self.pmfs for probability in pmf], dtype=float)


def predicted_by(policy: Policy, rows: OutcomeRows, catalogue: ActionCache) -> Predicted:
    """Predict outcomes from the bytes in the column ``raw``."""
    pmfs: list[list[float]] = []
    chosen: list[int] = []
    by_place: list[list[float]] = []
    refused = np.zeros(len(rows), dtype=np.bool_)
    for index, example in enumerate(example_rows(rows, catalogue)):
        if isinstance(example, BadInput):
            refused[index] = True
            continue
        try:
            pmf = pmf_of(policy.predict(example.question))
            by_place.append(_by_place(policy, example, pmf[example.picks[0].action]))
        except BadInput:
            refused[index] = True
            continue
        pmfs.append(pmf)
        chosen.append(example.picks[0].action)
    return Predicted(pmfs, np.array(chosen, dtype=np.int64), by_place, refused)


def _by_place(policy: Policy, example: Example, first: float) -> list[float]:
    """Return the probability of what was shown down to each place, given that of the first place."""
    question, picks = example
    probabilities = [first]
    for place in range(1, len(picks)):
        pmf = pmf_of(policy.predict(question, picks[:place]))
        probabilities.append(probabilities[-1] * pmf[picks[place].action])
    return probabilities


class Logger(NamedTuple):
    """One of the versions that wrote a log: its name, as in ``12-0a1b2c3d``, and its share of the rows."""

    version: str
    policy: Policy
    share: float


def mean_propensities(loggers: Sequence[Logger], rows: OutcomeRows, catalogue: ActionCache) -> Floats:
    """Ask all loggers about outcomes; return their mean probability of the logged action, by their shares.

    Parameters
    ----------
    loggers
        All that wrote the log, computed again.
    rows
        Outcomes with their bytes in the column ``raw``.

    Returns
    -------
    Floats
        Shape (rows,); NaN for a row whose features they refuse.

    Raises
    ------
    Exception
        That of ``rows``: its logger is none of them, or would not have given the action the logged probability.
    """
    of_loggers = np.full((len(loggers), len(rows)), np.nan)
    for row, example in enumerate(example_rows(rows, catalogue)):
        if isinstance(example, BadInput):
            continue
        try:
            first = example.picks[0].action
            of_loggers[:, row] = [
                _by_place(each.policy, example, pmf_of(each.policy.predict(example.question))[first])[-1]
                for each in loggers
            ]
        except BadInput:
            continue
    own, logged = _own(loggers, rows), propensities(rows)
    own_probability = of_loggers[own, np.arange(len(rows))]
    # What was refused is NaN, and agrees with nothing and contradicts nothing.
    tolerance = PMF_TOLERANCE * rows.numbers("places")
    if (wrong := np.abs(own_probability - logged) > tolerance * np.maximum(own_probability, logged)).any():
        row = int(np.argmax(wrong))
        expected = f"{own_probability[row]}, as version {loggers[own[row]].version} says, computed again"
        raise rows.bad("propensity", row, str(logged[row]), expected)
    mean = np.zeros(len(rows))
    # Added one after the other: the bits of a matrix product depend on the number of rows.
    for each, probabilities in zip(loggers, of_loggers, strict=True):
        mean += each.share * probabilities
    return mean


def _own(loggers: Sequence[Logger], rows: OutcomeRows) -> Numbers:
    """Return which of the loggers wrote each row."""
    versions = rows.texts("policy_version")
    numbers = {each.version: number for number, each in enumerate(loggers)}
    own = np.array([numbers.get(name, -1) for name in versions.names], dtype=np.int64)[versions.codes]
    if len(own) and own.min() < 0:
        row = int(np.argmin(own))
        expected = "a version that wrote the log when its rows were counted"
        raise rows.bad("policy_version", row, versions.names[versions.codes[row]], expected)
    return own


def example_rows(rows: OutcomeRows, catalogue: ActionCache) -> Iterator[Example | BadInput]:
    """Decode outcomes from the bytes in the column ``raw``; yield an error for each that cannot be used."""
    raws = rows.whole("raw").to_pylist()
    outcomes, unreadable = outcomes_in(b"[" + b",".join(raws) + b"]")
    if unreadable or len(outcomes) != len(raws):
        row = min(unreadable[0].index if unreadable else 0, len(raws) - 1)
        raise rows.bad("raw", row, "what is no outcome", "the outcome of the other columns")
    for outcome in outcomes:
        try:
            yield example_of(outcome, catalogue)
        except BadInput as error:
            yield error
