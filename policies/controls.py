"""What an operator does to a policy while it runs: each control is a version of its own, with the same weights.

A decision cites the version that made it, so the log holds the moment at which a control began to act, and
the offset of ``rewards`` (the version's cut) from which it acts on learning. A replay of a policy goes
through its controls: nothing is learned of the outcomes between the cut of a version that holds the weights and the
cut of the next one that does not.
"""

from typing import Literal

from records.policy_version import PolicyVersion
from records.shape import UNSHAPED, Shape, UniformWrapper

Control = Literal["freeze", "uniform", "unfreeze"]

FREEZE: Control = "freeze"
"""The weights stay as they are, and go on deciding."""
UNIFORM: Control = "uniform"
"""The weights stay as they are; decisions are drawn uniformly."""
UNFREEZE: Control = "unfreeze"
"""The end of the other two: the weights decide, and what comes from here on is learned."""

SHAPES: dict[Control, Shape] = {
    FREEZE: Shape(learn=False),
    UNIFORM: Shape(learn=False, wrappers=(UniformWrapper(),)),
    UNFREEZE: UNSHAPED,
}
"""What each control makes of a policy."""


def in_force(shape: Shape) -> Control | None:
    """Return the control that a shape comes from, None: the policy decides and learns.

    >>> in_force(Shape(learn=False)), in_force(UNSHAPED)
    ('freeze', None)
    """
    return next((control for control, made in SHAPES.items() if made == shape and control != UNFREEZE), None)


def made_by(version: PolicyVersion | None) -> str:
    """Say in a word what made a version: ``learning``, a control, ``rebuild``; ``arguments``: version 0."""
    if version is None:
        return "arguments"
    return "rebuild" if version.rebuilt_to is not None else version.control or "learning"
