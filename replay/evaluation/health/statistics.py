"""Statistics of a log, from a state that is added up over blocks in bounded memory."""

import math

import numpy as np

from replay.evaluation.health.central import AroundRatio, Central, effective
from replay.evaluation.health.missing import filled
from replay.evaluation.health.state import State
from replay.evaluation.health.tail import largest_share, pareto_k

FAR = 30
"""A weight above ``rows / FAR`` makes one row count for more than thirty average ones together."""
UNITS_RETURN = 1.01
"""Minimum mean number of rows per unit (user) from which its rows are taken as correlated."""


def statistics(state: State) -> dict[str, float | None]:
    """Return the statistics of a log; those that it lacks the data for are None.

    ============================  =====================================================================================
    ``rows``                      decisions that were used
    ``mean_reward``               of the rows
    ``mean_weight``               1 less ``unseen`` but for chance, where the propensities are right
    ``max_weight``                what one row can move
    ``ess``                       ``(sum w)^2 / sum w^2`` (Kong 1992, A note on importance sampling
                                  using standardized weights)
    ``ess_share``                 the same as a share of the rows
    ``ess_of_pmf``                rows by the mean of ``squared_weight``: the same, of all that could be logged and was
                                  not
    ``effective_positives``       ``(sum |wr|)^2 / sum (wr)^2``: the same of the rows with a reward
    ``variance_ess_*``            ``(sum x^2)^2 / sum x^4`` of what each row adds to the value: of how many rows its
                                  error is known from
    ``unseen``                    the target's mass on actions that could not be logged
    ``unseen_errors_*``           what that could move the value by, in standard errors of it: for ``ips`` by the size
                                  of rewards, as what is not seen adds 0 to its sum; for ``snips`` by how far they lie
                                  from its value, as what is not seen is taken to earn that; for ``dr`` by the residuals
    ``missing_errors_*``          the same of what the mean weight lacks to 1, which may be unseen mass or chance
    ``far``                       share of rows in which ``squared_weight`` is above ``rows / 30``; for a target
                                  without chance, its mass on weights above that
    ``largest_share``             of all weight, that of the row with the largest one
    ``largest_percent_share``     of all weight, that of the one per cent of rows with the largest ones
    ``pareto_k``                  the shape of the weights' tail
    ``zero_share``                rows that the target would never take
    ``certain``                   share of rows with the propensity 1
    ``repeated``                  share of rows whose event id came before, by a sample
    ``rows_each_unit``            decisions of each unit, by a sample of units
    ``filled_*``                  statistics with the missing weight filled in (:mod:`replay.evaluation.health.missing`)
    ============================  =====================================================================================

    Examples
    --------
    >>> import numpy as np
    >>> from replay.evaluation.rows import EvaluationRows
    >>> log = EvaluationRows(reward=np.ones(4), propensity=np.full(4, 0.5), target=np.array([0.0, 0.5, 0.5, 1.0]))
    >>> found = statistics(State.of(log))
    >>> found["mean_weight"], found["ess"], found["zero_share"], found["unseen"]
    (1.0, 2.6666666666666665, 0.25, None)
    """
    known: dict[str, float | None] = {"rows": float(state.rows)}
    if not state.rows:
        return known
    known.update({**_of_weights(state), **_of_errors(state), **_of_rows(state)})
    known.update(filled(state, known))
    return known


def _of_weights(state: State) -> dict[str, float | None]:
    rows, weight, size = state.rows, state.weight, state.size
    ess = effective(weight.total, weight.squares)
    return {
        "mean_reward": state.reward.mean,
        "mean_weight": weight.total / size,
        "max_weight": float(state.largest.kept[-1]) * rows / size,
        "ess": ess,
        "ess_share": (ess or 0.0) / rows,
        "ess_of_pmf": rows**2 / state.squared if state.squared else None,
        "effective_positives": effective(state.worth_size, state.worth.squares),
    }


def _of_errors(state: State) -> dict[str, float | None]:
    """Return from how many rows errors are known, and what unseen and missing mass could move, in errors."""
    worth, ratio, corrected, sized = state.worth, state.ratio, state.corrected, state.sized
    second, fourth, error = worth.second, worth.fourth, worth.error
    if sized is not None:
        second, fourth, error = sized.second[2], sized.fourth[4], _ratio_error(sized)
    unseen = None if state.unseen is None else state.unseen / state.size
    missing = max(1 - state.weight.total / state.size, 0.0)
    return {
        "variance_ess_ips": effective(second, fourth),
        "variance_ess_snips": effective(ratio.second[2], ratio.fourth[4]),
        "variance_ess_dr": None if corrected is None else effective(corrected.second, corrected.fourth),
        "unseen": unseen,
        **_errors("unseen_errors", unseen, state, error),
        **_errors("missing_errors", missing, state, error),
    }


def _of_rows(state: State) -> dict[str, float | None]:
    rows, total = state.rows, state.weight.total
    return {
        "far": None if state.spread_squared is None else state.spread_squared.above(rows / FAR),
        "largest_share": float(state.largest.kept[-1]) / total if total else None,
        "largest_percent_share": _percent_share(state),
        "pareto_k": pareto_k(state.largest.kept, rows),
        "zero_share": state.spread_weight.zeros / rows,
        "certain": state.certain / rows,
        "repeated": None if state.events is None else 1 - 1 / (state.events.rows_each or 1),
        "rows_each_unit": None if state.units is None else state.units.rows_each_of(rows),
    }


def _percent_share(state: State) -> float | None:
    exact = largest_share(state.largest.kept, state.rows, state.weight.total)
    if exact is not None or not state.weight.total:
        return exact
    # Longer than what is kept of the largest weights: whole bins from above, and a part of the next one.
    wanted, counts, sums = state.rows / 100, state.spread_weight.counts[::-1], state.spread_weight.sums[::-1]
    before = counts.cumsum() - counts
    taken = np.clip((wanted - before) / np.maximum(counts, 1), 0, 1)
    return float(taken @ sums) / state.weight.total


def _ratio_error(ratio: AroundRatio) -> float | None:
    return math.sqrt(ratio.second[2]) / ratio.weight if ratio.weight else None


def _errors(name: str, unseen: float | None, state: State, error: float | None) -> dict[str, float | None]:
    """Return what unseen mass can move each family's value by; ``error``: of the value of ``ips``."""
    reward, residual = state.reward, state.residual
    around_ratio = math.sqrt(reward.second / reward.count + (reward.mean - state.ratio.ratio) ** 2)
    return {
        f"{name}_ips": _in_errors(unseen, _size(reward), error),
        f"{name}_snips": _in_errors(unseen, around_ratio, _ratio_error(state.ratio)),
        f"{name}_dr": None
        if residual is None
        else _in_errors(unseen, _size(residual), None if state.corrected is None else state.corrected.error),
    }


def _size(of: Central) -> float:
    return math.sqrt(of.squares / of.count)


def _in_errors(unseen: float | None, size: float, error: float | None) -> float | None:
    """Return what unseen mass can move a value by: it earns an unknown amount, of the size of what was seen."""
    if unseen is None:
        return None
    if not unseen or not size:
        return 0.0
    return unseen * size / error if error else None
