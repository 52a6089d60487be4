"""Rows of a log of slates: one per slate and position."""

from dataclasses import dataclass, fields
from typing import Any, Required, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from records.errors import BadInput
from replay.evaluation.estimators.estimator import need
from replay.evaluation.rows import EvaluationRows, Floats, Hashes

Pair = tuple[ArrayLike, ArrayLike]
"""The probability by the logging policy, and that by the target; a number per row each."""


class SlateColumns(TypedDict, total=False):
    """Flat columns of slates, a number per slate and position each; rows may come in any order.

    Attributes
    ----------
    slate
        A number that the rows of one slate share, such as the hash of its event id.
    position
        From the top down, from 0; a slate may lack some.
    reward
        Of the position; a reward of the whole slate may stand at any one of its positions.
    whole
        Probabilities of the whole slate, the same in each of its rows.
    marginal
        Of the action at its position, whatever else is shown.
    cascade
        Of the actions from the top down to the position; they cannot grow on the way.
    conditional
        Of the action at its position, given what stands above.
    model_logged, model_target, slot
        As the attributes of :class:`Slates`.
    """

    slate: Required[ArrayLike]
    position: Required[ArrayLike]
    reward: Required[ArrayLike]
    whole: Pair | None
    marginal: Pair | None
    cascade: Pair | None
    conditional: Pair | None
    model_logged: ArrayLike | None
    model_target: ArrayLike | None
    slot: ArrayLike | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slates:
    """Some slates of a log, each whole; made by :meth:`of`, which sorts and checks the rows.

    ``len`` is the number of slates, and so is a "row" of whatever reads the terms of an estimator.

    Attributes
    ----------
    slate
        The slates' own numbers, in the order of the log: shape (slates,).
    starts
        Where each slate's rows begin, and the number of rows at last: shape (slates + 1,).
    position
        From the top down, from 0: shape (rows,), rising within a slate.
    reward
        What was earned there: shape (rows,).
    weight
        Of the whole slate: the target's probability of all its actions over the logged one; shape (slates,).
    weight_position
        Of the action at its position, whatever else is shown: shape (rows,).
    weight_cascade
        Of the actions from the top down to the position: shape (rows,).
    propensity, target
        The probabilities of the action at its position given what stands above: shape (rows,).
    model_logged, model_target
        What a reward model expects from the position on, given what stands above, for the logged action and for the
        target's choice (:func:`~replay.evaluation.estimators.slates.modelled`): shape (rows,).
    slot
        A number for what the position is about, where that is more than its place; the position itself if None.
    """

    slate: Hashes
    starts: NDArray[np.int64]
    position: NDArray[np.int64]
    reward: Floats
    weight: Floats | None = None
    weight_position: Floats | None = None
    weight_cascade: Floats | None = None
    propensity: Floats | None = None
    target: Floats | None = None
    model_logged: Floats | None = None
    model_target: Floats | None = None
    slot: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, **columns: Unpack[SlateColumns]) -> "Slates":
        """Return slates from flat columns: see :class:`SlateColumns`.

        From ``conditional`` follows the weight of the cascade, and from that the weight of the whole slate, where
        they are not given themselves.

        Raises
        ------
        BadInput
            A column has another length, a number is not finite, a propensity does not lie above 0 and at or below 1,
            or a target's probability not from 0 to 1; a position comes twice in a slate; a slate has several
            probabilities; a cascade's grows.

        Examples
        --------
        >>> both = [0.5, 0.5, 0.5], [1.0, 0.5, 0.0]
        >>> rows = Slates.of(slate=[7, 7, 8], position=[0, 1, 0], reward=[1, 0, 1], conditional=both)
        >>> len(rows), rows.weight_cascade.tolist(), rows.weight.tolist()
        (2, [2.0, 2.0, 0.0], [2.0, 0.0])
        """
        order = _Order.of(columns["slate"], columns["position"])
        found = _weights(order, columns)
        for name, values in (
            ("model_logged", columns.get("model_logged")),
            ("model_target", columns.get("model_target")),
        ):
            if values is not None:
                found[name] = order.column(name, values)
        if (slot := columns.get("slot")) is not None:
            codes = whole_numbers("slot", slot)
            _same_length("slot", codes, order.slate)
            found["slot"] = codes[order.order].astype(np.int64)
        return cls(
            slate=order.slate[order.starts[:-1]].astype(np.uint64),
            starts=order.starts,
            position=order.position,
            reward=order.column("reward", columns["reward"]),
            **found,
        )

    def __len__(self) -> int:
        return len(self.slate)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """How many rows each slate has: shape (slates,)."""
        return np.diff(self.starts)

    @property
    def slate_of_row(self) -> NDArray[np.int64]:
        """Which slate, from 0, a row belongs to: shape (rows,)."""
        return np.repeat(np.arange(len(self)), self.lengths)

    @property
    def slate_reward(self) -> Floats:
        """What each slate earned at all its positions: shape (slates,)."""
        return self.per_slate(self.reward)

    def per_slate(self, column: Floats) -> Floats:
        """Return the sum of a column of shape (rows,) within each slate: shape (slates,)."""
        if not len(self):
            return np.zeros(0)
        total: Floats = np.add.reduceat(column, self.starts[:-1])
        return total

    def check_positions(self, positions: int) -> None:
        """Raise for rows at positions that the estimator does not have.

        Raises
        ------
        BadInput
            There is one.
        """
        if self.position.size and int(self.position.max()) >= positions:
            raise BadInput("wrong_position", "position", str(self.position.max()), f"a number below {positions}")

    def where(self, which: Any) -> "Slates":
        """Return some of the slates, each whole: flags, numbers or a slice of them."""
        chosen = np.arange(len(self))[which]
        lengths = self.lengths[chosen]
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.repeat(self.starts[chosen] - starts[:-1], lengths) + np.arange(starts[-1])

        def some(name: str) -> Any:
            value = getattr(self, name)
            return None if value is None else value[chosen] if name in ("slate", "weight") else value[rows]

        return Slates(starts=starts, **{each.name: some(each.name) for each in fields(self) if each.name != "starts"})

    def first(self) -> EvaluationRows:
        """Return the top position of each slate as evaluation rows, for any estimator or interval of single actions.

        Raises
        ------
        BadInput
            Neither ``conditional`` nor ``cascade`` probabilities were given.
        """
        top = self.starts[:-1]
        return EvaluationRows(
            reward=self.reward[top],
            propensity=need(self.propensity, "propensity")[top],
            target=need(self.target, "target")[top],
            weight=need(self.weight_cascade, "weight_cascade")[top],
            event_hash=self.slate,
        )


@dataclass(frozen=True, slots=True)
class _Order:
    """Rows sorted by slate, in the order of the log, and position.

    Attributes
    ----------
    order
        The given row of each sorted one.
    slate, position
        Sorted.
    new
        Which rows begin a slate.
    """

    order: NDArray[np.intp]
    slate: NDArray[Any]
    position: NDArray[np.int64]
    new: NDArray[np.bool_]

    @classmethod
    def of(cls, slate: ArrayLike, position: ArrayLike) -> "_Order":
        number = whole_numbers("slate", slate)
        place = whole_numbers("position", position)
        if place.size and int(place.min()) < 0:
            raise BadInput("wrong_position", "position", str(place.min()), "a number from 0")
        _same_length("position", place, number)
        _, first, which = np.unique(number, return_index=True, return_inverse=True)
        order = np.lexsort((place, first[which]))
        number, place = number[order], place[order].astype(np.int64)
        new = np.ones(number.size, dtype=np.bool_)
        new[1:] = number[1:] != number[:-1]
        twice = ~new[1:] & (place[1:] == place[:-1])
        if twice.any():
            row = int(np.flatnonzero(twice)[0])
            raise BadInput("position_twice", "position", f"{place[row]} twice in slate {number[row]}", "each once")
        return cls(order, number, place, new)

    @property
    def starts(self) -> NDArray[np.int64]:
        return np.append(np.flatnonzero(self.new), self.slate.size).astype(np.int64)

    def column(self, name: str, values: ArrayLike) -> Floats:
        floats = np.asarray(values, dtype=np.float64)
        _same_length(name, floats, self.slate)
        if not np.isfinite(floats).all():
            raise BadInput("not_finite", name, str(floats[~np.isfinite(floats)][0]), "finite numbers")
        return floats[self.order]

    def pair(self, name: str, values: Pair) -> tuple[Floats, Floats]:
        logged, target = self.column(f"{name} propensity", values[0]), self.column(f"{name} target", values[1])
        wrong = logged[(logged <= 0) | (logged > 1)]
        if wrong.size:
            raise BadInput("wrong_propensity", f"{name} propensity", str(wrong[0]), "numbers above 0, at most 1")
        wrong = target[(target < 0) | (target > 1)]
        if wrong.size:
            raise BadInput("wrong_probability", f"{name} target", str(wrong[0]), "numbers from 0 to 1")
        return logged, target

    def cascade(self, values: Pair) -> tuple[Floats, Floats]:
        both = self.pair("cascade", values)
        for side, probability in zip(("propensity", "target"), both, strict=True):
            grows = ~self.new[1:] & (probability[1:] > probability[:-1] * (1 + 1e-12))
            if grows.any():
                row = int(np.flatnonzero(grows)[0])
                step = f"{probability[row]} then {probability[row + 1]} in slate {self.slate[row]}"
                raise BadInput("growing_cascade", f"cascade {side}", step, "probabilities that do not grow")
        return both

    def whole(self, values: Pair) -> tuple[Floats, Floats]:
        both = self.pair("whole", values)
        for side, probability in zip(("propensity", "target"), both, strict=True):
            differs = ~self.new[1:] & (probability[1:] != probability[:-1])
            if differs.any():
                row = int(np.flatnonzero(differs)[0])
                pair = f"{probability[row]} and {probability[row + 1]} in slate {self.slate[row]}"
                raise BadInput("several_probabilities", f"whole {side}", pair, "one a slate")
        return both


def _weights(order: _Order, columns: SlateColumns) -> dict[str, Any]:
    """Return the weights and probabilities that follow from the pairs of probabilities."""
    found: dict[str, Any] = {}
    starts = order.starts
    if (marginal := columns.get("marginal")) is not None:
        logged, target = order.pair("marginal", marginal)
        found["weight_position"] = target / logged
    if (conditional := columns.get("conditional")) is not None:
        logged, target = order.pair("conditional", conditional)
        found["propensity"], found["target"] = logged, target
        found["weight_cascade"] = _products(target / logged, starts)
    if (cascade := columns.get("cascade")) is not None:
        logged, target = order.cascade(cascade)
        found["weight_cascade"] = target / logged
        if conditional is None:
            found["propensity"], found["target"] = _steps(logged, order.new), _steps(target, order.new)
    if (whole := columns.get("whole")) is not None:
        logged, target = order.whole(whole)
        found["weight"] = (target / logged)[starts[:-1]]
    elif "weight_cascade" in found:
        found["weight"] = found["weight_cascade"][starts[1:] - 1]
    return found


def whole_numbers(name: str, values: ArrayLike) -> NDArray[Any]:
    """Return a column of whole numbers: shape (rows,).

    Raises
    ------
    BadInput
        It has another shape, or other numbers.
    """
    numbers = np.asarray(values)
    if numbers.ndim != 1:
        raise BadInput("wrong_shape", name, f"the shape {numbers.shape}", "one number a row")
    if not numbers.size:
        return numbers.astype(np.int64)
    if not np.issubdtype(numbers.dtype, np.integer):
        raise BadInput("wrong_type", name, str(numbers.dtype), "whole numbers")
    return numbers


def _same_length(name: str, column: NDArray[Any], number: NDArray[Any]) -> None:
    if column.shape != number.shape:
        raise BadInput("wrong_shape", name, f"the shape {column.shape}", f"one number a row: {number.shape}")


def _products(weight: Floats, starts: NDArray[np.int64]) -> Floats:
    # From the top down; a step for all slates at once.
    product = weight.copy()
    lengths = np.diff(starts)
    for depth in range(1, int(lengths.max(initial=0))):
        row = starts[:-1][lengths > depth] + depth
        product[row] *= product[row - 1]
    return product


def _steps(probability: Floats, new: NDArray[np.bool_]) -> Floats:
    # What is impossible above is impossible below.
    above = np.where(new, 1.0, np.roll(probability, 1)) if probability.size else probability
    return np.divide(probability, above, out=np.zeros_like(probability), where=above > 0)
