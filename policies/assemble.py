"""The stack of a policy and its wrappers, the same for decide, ``verify``, recompute and evaluation."""

from collections.abc import Callable
from functools import partial

from policies.policy import Policy
from policies.registry import make
from records.policy_version import PolicyVersion
from records.shape import UNSHAPED, Shape, UniformWrapper, Wrapper

Weights = Callable[[], Policy]
"""Makes the policy that a wrapper holds. A wrapper that does not ask it does not call it either."""


def _uniform(wrapper: UniformWrapper, weights: Weights) -> Policy:
    return make("uniform", "")


_WRAPPERS: dict[type[Wrapper], Callable[[Wrapper, Weights], Policy]] = {UniformWrapper: _uniform}


def assemble(shape: Shape, weights: Weights) -> Policy:
    """Return the policy that decides: the weights within the wrappers of a shape.

    What is logged is the pmf of the outermost one.
    """
    made = weights
    for wrapper in shape.wrappers:
        made = partial(_WRAPPERS[type(wrapper)], wrapper, made)
    return made()


def deciding(version: PolicyVersion | None, weights: Weights) -> Policy:
    """Return the policy that decides by a version; None: version 0."""
    return assemble(version.shape if version is not None else UNSHAPED, weights)
