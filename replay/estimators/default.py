"""Which estimator is to be believed first."""

from typing import Literal, NamedTuple

from replay.estimators.adaptive import ADAPTIVE_DR, ADAPTIVE_IPS


class Default(NamedTuple):
    """The estimator to be believed first, on which weights, and why."""

    name: str
    weights: Literal["logged", "balanced"]
    reason: str


def default_estimator(versions: int, one_learner: bool, has_model: bool) -> Default:
    """Return which estimator is to be believed first.

    Parameters
    ----------
    versions
        How many versions, or fixed loggers, wrote the log.
    one_learner
        Whether one learner published them, each from the rewards before it.
    has_model
        Whether there is a reward model; of a learner's log one from the past only.

    Examples
    --------
    >>> default_estimator(versions=50, one_learner=True, has_model=True).name
    'adaptive-dr'
    >>> default_estimator(versions=2, one_learner=False, has_model=False)[:2]
    ('snips', 'balanced')
    """
    if versions > 1 and one_learner:
        name: str = ADAPTIVE_DR if has_model else ADAPTIVE_IPS
        reason = (
            f"one learner published {versions} versions, each from the rewards before it: rows are weighted by how "
            "much their version can tell, from what was known before them; weights balanced over versions are biased"
        )
        return Default(name, "logged", reason)
    name = "dr" if has_model else "snips"
    if versions > 1:
        reason = (
            f"{versions} policies that were fixed beforehand wrote the log: weights by their mixture are never heavier"
        )
        return Default(name, "balanced", reason)
    if has_model:
        return Default(name, "logged", "one policy wrote the log: a reward model takes variance away, and adds no bias")
    return Default(
        name, "logged", "one policy wrote the log, and there is no reward model: weights are scaled to sum to 1"
    )
