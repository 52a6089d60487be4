"""What an operator does to a policy while it runs: each control is a version of its own, with the same weights.

A decision cites the version that made it, so the log holds the moment at which a control began to act, and
the offset of ``rewards`` (the version's cut) from which it acts on learning. A replay of a policy goes
through its controls: nothing is learned of the outcomes between the cut of a version that holds the weights and the
cut of the next one that does not.
"""

from collections.abc import Callable
from typing import Literal

from policies.policy import Policy
from policies.registry import make
from records.policy_version import PolicyVersion

Control = Literal["freeze", "uniform", "unfreeze"]

FREEZE: Control = "freeze"
"""The weights stay as they are, and go on deciding."""
UNIFORM: Control = "uniform"
"""The weights stay as they are; decisions are drawn uniformly."""
UNFREEZE: Control = "unfreeze"
"""The end of the other two: the weights decide, and what comes from here on is learned."""


def holds(control: str | None) -> bool:
    """Tell whether nothing is learned under a control.

    >>> holds("freeze"), holds("uniform"), holds("unfreeze"), holds(None)
    (True, True, False, False)
    """
    return control in (FREEZE, UNIFORM)


def in_force(control: str | None) -> Control | None:
    """Return the control that acts on what follows a version, None: it decides and learns.

    >>> in_force("uniform"), in_force("unfreeze")
    ('uniform', None)
    """
    if control == FREEZE:
        return FREEZE
    return UNIFORM if control == UNIFORM else None


def deciding(version: PolicyVersion | None, weights: Callable[[], Policy]) -> Policy:
    """Return the policy that decides by a version, as decide, ``verify``, and an evaluation ask it.

    Parameters
    ----------
    version
        None: version 0.
    weights
        Makes the policy with the version's weights; not called where a control puts another one in its place.
    """
    uniformly = version is not None and version.control == UNIFORM
    return make("uniform", "") if uniformly else weights()


def made_by(version: PolicyVersion | None) -> str:
    """Say in a word what made a version: ``learning``, a control, ``rebuild``; ``arguments``: version 0."""
    if version is None:
        return "arguments"
    return "rebuild" if version.rebuilt_to is not None else version.control or "learning"
