"""Questions, slots and picks: what a policy is asked, and what comes of it."""

from collections.abc import Sequence
from typing import NamedTuple

from policies.density import Density
from policies.features import Action, Features

Pmf = list[float]
"""A probability mass function: a probability for each action of a question, in their order."""


class Slot(NamedTuple):
    """One choice of a decision; a plain decision has one, a ranked list one per place.

    Attributes
    ----------
    id
        Its name within the decision.
    allowed
        Indices of the actions that may be chosen here; None: all.
    """

    id: str = "0"
    allowed: tuple[int, ...] | None = None


ONE_SLOT = (Slot(),)


class Question(NamedTuple):
    """What a policy is asked.

    Attributes
    ----------
    context
        What is known of the person and the moment.
    actions
        What can be chosen.
    slots
        The choices of this decision, in the order in which they are made. No action is chosen twice.
    domain
        The lowest and the highest number that can be chosen; None: an action is chosen. With one, ``actions`` is
        empty.
    """

    context: Features
    actions: Sequence[Action]
    slots: Sequence[Slot] = ONE_SLOT
    domain: tuple[float, float] | None = None


class Pick(NamedTuple):
    """What was chosen in a slot.

    Attributes
    ----------
    slot
        Index of the slot.
    action
        Index of the action; -1: a number was chosen.
    propensity
        The probability with which it was drawn, given the picks before it. Of a number: the density there.
    value
        The number that was chosen; None: an action was.
    """

    slot: int
    action: int
    propensity: float
    value: float | None = None


def ranked(places: int) -> Sequence[Slot]:
    """Return the slots of a ranked list.

    >>> [slot.id for slot in ranked(2)]
    ['0', '1']
    """
    return ONE_SLOT if places == 1 else tuple(Slot(str(place)) for place in range(places))


def slots_of(top: int | None, actions: int) -> Sequence[Slot]:
    """Return the slots of a request: a list is no longer than its actions; without ``top`` there is one slot.

    >>> len(slots_of(None, 3)), len(slots_of(2, 3)), len(slots_of(9, 3))
    (1, 2, 3)
    """
    return ranked(min(top or 1, actions))


def pmf_of(predicted: Pmf | Density) -> Pmf:
    """Return what a policy predicted for a choice between actions.

    Raises
    ------
    TypeError
        It is a density: the question has a domain.
    """
    if isinstance(predicted, Density):
        raise TypeError(f"found a density over {predicted.edges[0]:g} to {predicted.edges[-1]:g}, expected a pmf")
    return predicted


def open_actions(question: Question, taken: Sequence[Pick] = ()) -> list[int]:
    """Return the indices of the actions that may be chosen in the next slot.

    >>> open_actions(Question({}, [Action("a", {}), Action("b", {})], ranked(2)), [Pick(0, 1, 0.5)])
    [0]
    """
    allowed = question.slots[len(taken)].allowed
    gone = {pick.action for pick in taken}
    return [index for index in (range(len(question.actions)) if allowed is None else allowed) if index not in gone]
