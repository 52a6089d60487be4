"""The reward models by name, as the command line has them. Their libraries are loaded by who asks for one."""

from importlib import import_module

from records.errors import WrongConfiguration
from records.extras import needed_by
from replay.evaluation.models.model import RewardModel

_CLASSES = {
    "constant": "action_means:Constant",
    "action-means": "action_means:ActionMeans",
    "ridge": "scikit_learn:RidgeRegression",
    "logistic": "scikit_learn:Logistic",
    "boosting": "scikit_learn:Boosting",
    "river": "river_model:River",
    "vw": "vowpal_wabbit:VowpalWabbit",
}
MODELS = tuple(_CLASSES)
"""The names."""


def make(name: str) -> RewardModel:
    """Return a model that has learned nothing.

    Raises
    ------
    WrongConfiguration
        There is no model of this name, or the package that computes it is not installed.

    Examples
    --------
    >>> make("action-means").text
    'means per action and segment, shrunk by 10 rows'
    """
    if name not in _CLASSES:
        raise WrongConfiguration(f"reward model: found {name!r}, expected one of {', '.join(MODELS)}")
    module, _, kind = _CLASSES[name].partition(":")
    with needed_by(f"reward model {name}", "models"):
        made: RewardModel = getattr(import_module(f"replay.evaluation.models.{module}"), kind)()
    return made
