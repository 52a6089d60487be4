"""What the values of Vowpal Wabbit's arguments may be.

Vowpal Wabbit names a wrong value in its own words, or dies of it: ``--bag 0`` and ``--cover -1`` end the process.
So they are checked before it sees them.
"""

import math
import re
from collections.abc import Callable
from types import MappingProxyType

_MOST_MODELS = 1000

_WHOLE = MappingProxyType(
    {
        "automl": (1, 128),
        "bag": (1, _MOST_MODELS),
        "bit_precision": (1, 28),
        "cover": (0, _MOST_MODELS),
        "default_lease": (0, 2**31 - 1),
        "first": (0, 2**31 - 1),
        "hash_seed": (0, 2**31 - 1),
        "min_champ_examples": (0, 2**31 - 1),
        "min_scope": (0, 2**31 - 1),
        "model_count": (1, _MOST_MODELS),
        "nn": (0, _MOST_MODELS),
        "priority_challengers": (-1, 128),
        "random_seed": (0, 2**31 - 1),
        "rnd": (0, _MOST_MODELS),
        "shift_model_bounds": (0, 2**31 - 1),
        "synthcoversize": (1, 2**20),
    }
)
_REAL = frozenset(
    (
        "automl_significance_level",
        "cb_c_alpha",
        "cb_c_tau",
        "cb_dro_alpha",
        "cb_dro_tau",
        "cb_dro_wmax",
        "cb_max_cost",
        "cb_min_cost",
        "clip_p",
        "constant",
        "decay",
        "epsilon_decay_significance_level",
        "expectile_q",
        "fepsilon",
        "flipschitz_const",
        "ftrl_alpha",
        "ftrl_beta",
        "gamma_exponent",
        "gamma_scale",
        "initial_denominator",
        "initial_epsilon",
        "initial_numerator",
        "initial_t",
        "initial_weight",
        "l1",
        "l2",
        "lambda",
        "learning_rate",
        "logistic_max",
        "logistic_min",
        "lr_multiplier",
        "max_prediction",
        "mellowness",
        "min_prediction",
        "power_t",
        "psi",
        "quantile_tau",
        "radius",
        "rnd_alpha",
        "rnd_invlambda",
        "sparse_l2",
        "synthcoverpsi",
        "tol_x",
    )
)
_PROBABILITY = frozenset(("epsilon",))
_CHOICES = MappingProxyType({"cb_type": ("dm", "dr", "ips", "mtr", "sm")})
CHECKED = frozenset((*_WHOLE, *_PROBABILITY, *_REAL, *_CHOICES))
"""The arguments with one value that is a number, or one of a few words."""
_LETTERS = MappingProxyType({"quadratic": 2, "cubic": 3})
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def problem(name: str, value: str) -> str | None:
    """Return what is wrong with the value of an argument (its long name); None: nothing that is known.

    >>> problem("bag", "0")
    'found 0, expected a whole number from 1 to 1000'
    >>> problem("epsilon", "2")
    'found 2, expected a number from 0 to 1'
    >>> problem("quadratic", "u")
    'found u, expected the first letters of 2 namespaces'
    >>> problem("learning_rate", "1e-3")
    """
    expected = _expected(name, value)
    return None if expected is None else f"found {value}, expected {expected}"


def _expected(name: str, value: str) -> str | None:
    """Return what the value should have been; None where it is."""
    if name in _WHOLE:
        least, most = _WHOLE[name]
        fits = re.fullmatch(r"[+-]?[0-9]{1,10}", value) is not None and least <= int(value) <= most
        return None if fits else f"a whole number from {least} to {most}"
    if name in _PROBABILITY:
        return None if _is(value, lambda number: 0 <= number <= 1) else "a number from 0 to 1"
    if name in _REAL:
        return None if _is(value, lambda number: abs(number) < 1e38) else "a number"
    if name in _CHOICES:
        return None if value in _CHOICES[name] else f"one of {', '.join(_CHOICES[name])}"
    if name in _LETTERS:
        return None if len(value) >= _LETTERS[name] else f"the first letters of {_LETTERS[name]} namespaces"
    return None


def _is(value: str, fits: Callable[[float], bool]) -> bool:
    return _NUMBER.fullmatch(value) is not None and math.isfinite(number := float(value)) and fits(number)
