"""Which estimator is to be believed first."""

from typing import Literal, NamedTuple


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
    >>> default_estimator(versions=50, one_learner=True, has_model=True)[:2]
    ('dr', 'logged')
    >>> default_estimator(versions=2, one_learner=False, has_model=False)[:2]
    ('snips', 'balanced')
    """
    name = "dr" if has_model else "snips"
    if versions > 1 and one_learner:
        reason = (
            f"one learner published {versions} versions, each from the rewards before it: every row has the same "
            "weight, so that each part of the log's period counts by its share; adaptive weights favour a part of it, "
            "and weights balanced over versions are biased"
        )
        return Default(name, "logged", reason)
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
