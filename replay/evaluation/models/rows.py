"""Rows of a log as a reward model sees them: contexts, all actions of each row, and what the logged one earned."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from policies.features import Action, Features
from policies.policy import check_actions
from records.errors import BadInput
from records.limits import PMF_TOLERANCE, REWARD_LIMIT
from replay.evaluation.rows import Codes, Flags, Floats, Hashes

Indices = NDArray[np.int64]


class Decided(NamedTuple):
    """A logged decision with its reward; ``target`` is the target's pmf, None where it is not asked."""

    context: Features
    actions: Sequence[Action]
    chosen: int
    reward: float
    target: Sequence[float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRows:
    """Some rows of a log. Rows may differ in their actions: those of row i are the entries offsets[i] to offsets[i+1].

    Attributes
    ----------
    contexts
        Decoded features, one mapping a row; None where the log has none.
    catalogue
        The distinct actions; the same object in all batches where it is the same action, which is faster.
    action
        Of every entry its index in the catalogue: shape (entries,).
    offsets
        Where the entries of each row begin, and their end: shape (rows + 1,).
    chosen
        Which of its row's actions was logged, from 0: shape (rows,).
    reward
        What it earned: shape (rows,).
    target
        The target's pmf over the entries: shape (entries,); None where it is not asked.
    unit_hash, time_ms
        As in :class:`replay.evaluation.rows.EvaluationRows`: shape (rows,).
    segment
        A number per row, such as the position on the page, that a model without contexts distinguishes: shape (rows,).

    Raises
    ------
    BadInput
        A column has the wrong length, a row has no action, an index lies outside, or a reward or a probability is no
        number that can be learned.
    """

    catalogue: Sequence[Action]
    action: Codes
    offsets: Indices
    chosen: Indices
    reward: Floats
    contexts: Sequence[Features] | None = None
    target: Floats | None = None
    unit_hash: Hashes | None = None
    time_ms: Indices | None = None
    segment: Codes | None = None

    def __post_init__(self) -> None:
        rows, entries = len(self.reward), len(self.action)
        for name in ("chosen", "contexts", "unit_hash", "time_ms", "segment"):
            _check_length(name, getattr(self, name), rows)
        _check_length("target", self.target, entries)
        _check_length("offsets", self.offsets, rows + 1)
        if self.offsets[0] != 0 or self.offsets[-1] != entries:
            raise BadInput("offsets_invalid", "offsets", f"{self.offsets[0]} to {self.offsets[-1]}", f"0 to {entries}")
        counts = self.counts
        _check_all("offsets", counts > 0, counts, "at least one action a row")
        _check_all(
            "chosen", (self.chosen >= 0) & (self.chosen < counts), self.chosen, "the index of one of the actions"
        )
        known = (self.action >= 0) & (self.action < len(self.catalogue))
        _check_all("action", known, self.action, f"an index of the catalogue's {len(self.catalogue)}")
        within = np.abs(self.reward) <= REWARD_LIMIT
        _check_all("reward", within, self.reward, f"a number within ±{REWARD_LIMIT:g}")
        if self.target is not None:
            _check_all("target", (self.target >= 0) & (self.target <= 1), self.target, "a probability")
            sums = np.add.reduceat(self.target, self.offsets[:-1]) if rows else np.empty(0)
            _check_all("target of row", np.abs(sums - 1) <= PMF_TOLERANCE, sums, "probabilities with the sum 1")

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def counts(self) -> Indices:
        """How many actions each row has: shape (rows,)."""
        return np.diff(self.offsets)

    @property
    def logged(self) -> Indices:
        """The entry of each row's logged action: shape (rows,)."""
        return self.offsets[:-1] + self.chosen

    @property
    def row(self) -> Indices:
        """The row of every entry: shape (entries,)."""
        return np.repeat(np.arange(len(self)), self.counts)

    def where(self, which: Flags) -> "ModelRows":
        """Return some of the rows: shape (rows,)."""
        offsets = np.concatenate(([0], np.cumsum(self.counts[which])))
        contexts = None if self.contexts is None else [self.contexts[index] for index in np.flatnonzero(which).tolist()]
        return self._some(which, np.repeat(which, self.counts), offsets, contexts)

    def part(self, start: int, stop: int) -> "ModelRows":
        """Return the rows from one to below another, which costs no more than they do."""
        offsets = self.offsets[start : stop + 1]
        contexts = None if self.contexts is None else self.contexts[start:stop]
        return self._some(slice(start, stop), slice(offsets[0], offsets[-1]), offsets - offsets[0], contexts)

    def parts(self, most: int) -> Iterator["ModelRows"]:
        """Yield the rows cut into parts of some ``most`` entries, so that what is made of a part fits into memory."""
        start, rows = 0, len(self)
        while start < rows:
            last = int(np.searchsorted(self.offsets, self.offsets[start] + most, "right")) - 1
            stop = min(max(last, start + 1), rows)
            yield self.part(start, stop)
            start = stop

    def _some(self, rows: Any, entries: Any, offsets: Indices, contexts: Sequence[Features] | None) -> "ModelRows":
        columns = ("chosen", "reward", "unit_hash", "time_ms", "segment")
        picked: dict[str, Any] = {
            name: None if (column := getattr(self, name)) is None else column[rows] for name in columns
        }
        return ModelRows(
            catalogue=self.catalogue,
            action=self.action[entries],
            target=None if self.target is None else self.target[entries],
            offsets=offsets,
            contexts=contexts,
            **picked,
        )


class RowColumns(TypedDict, total=False):
    """The optional columns of rows, as in :class:`ModelRows`."""

    unit_hash: Hashes | None
    time_ms: Indices | None
    segment: Codes | None


def rows_of(decisions: Iterable[Decided], **columns: Unpack[RowColumns]) -> ModelRows:
    """Return decisions with features as rows.

    Raises
    ------
    BadInput
        As :class:`ModelRows`, or only some of the decisions have a target.

    Examples
    --------
    >>> a, b = Action("a", {}), Action("b", {"item": {"price": 9.5}})
    >>> rows = rows_of([Decided({}, [a, b], 1, 0.5), Decided({"user": {"age": 31}}, [b], 0, 1.0)])
    >>> rows.action.tolist(), rows.offsets.tolist(), rows.logged.tolist()
    ([0, 1, 1], [0, 2, 3], [1, 2])
    """
    numbers: dict[Action, int] = {}
    contexts: list[Features] = []
    action: list[int] = []
    ends, chosen = [0], list[int]()
    reward, target = list[float](), list[float]()
    for decided in decisions:
        check_actions(decided.actions)
        contexts.append(decided.context)
        action += [numbers.setdefault(each, len(numbers)) for each in decided.actions]
        ends.append(len(action))
        chosen.append(decided.chosen)
        reward.append(decided.reward)
        if decided.target is not None:
            if len(decided.target) != len(decided.actions):
                raise _length("target", len(decided.target), len(decided.actions))
            target += decided.target
    return ModelRows(
        catalogue=list(numbers),
        action=np.array(action, dtype=np.int32),
        offsets=np.array(ends, dtype=np.int64),
        chosen=np.array(chosen, dtype=np.int64),
        reward=np.array(reward, dtype=np.float64),
        contexts=contexts,
        target=np.array(target) if target else None,
        **columns,
    )


def rows_of_catalogue(
    catalogue: Sequence[Action],
    action: ArrayLike,
    reward: ArrayLike,
    target: Floats | None = None,
    **columns: Unpack[RowColumns],
) -> ModelRows:
    """Return rows without contexts, each of which had all actions of a catalogue.

    Parameters
    ----------
    action
        The logged action, an index of the catalogue: shape (rows,).
    target
        The target's pmf: shape (rows, actions), or (actions,) where it is the same for all rows.

    Examples
    --------
    >>> shoes = [Action("boot", {}), Action("clog", {})]
    >>> rows_of_catalogue(shoes, [1, 0], [0.0, 1.0], np.array([0.9, 0.1])).target.tolist()
    [0.9, 0.1, 0.9, 0.1]
    """
    chosen = np.asarray(action, dtype=np.int64)
    rows, actions = len(chosen), len(catalogue)
    return ModelRows(
        catalogue=catalogue,
        action=np.tile(np.arange(actions, dtype=np.int32), rows),
        offsets=np.arange(rows + 1) * actions,
        chosen=chosen,
        reward=np.asarray(reward, dtype=np.float64),
        target=None if target is None else np.broadcast_to(target, (rows, actions)).reshape(-1),
        **columns,
    )


def _check_length(name: str, column: Any, expected: int) -> None:
    if column is not None and len(column) != expected:
        raise _length(name, len(column), expected)


def _length(name: str, found: int, expected: int) -> BadInput:
    return BadInput("length_invalid", name, f"{found} values", f"{expected}")


def _check_all(name: str, right: Flags, values: NDArray[Any], expected: str) -> None:
    if not right.all():
        wrong = int(np.argmin(right))
        raise BadInput(f"{name.split()[0]}_invalid", f"{name}[{wrong}]", str(values[wrong]), expected)
