"""The value of each slot of a slate by itself, as for Vowpal Wabbit's conditional contextual bandits."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from records.errors import BadInput
from replay.evaluation.estimators.estimator import need
from replay.evaluation.estimators.slate_rows import Slates
from replay.evaluation.intervals.clopper_pearson import binomial, check_alpha
from replay.evaluation.intervals.cressie_read import CressieRead
from replay.evaluation.intervals.interval import Interval
from replay.evaluation.intervals.weighted_sums import WeightedSums
from replay.evaluation.rows import Floats


@dataclass(frozen=True, slots=True)
class Slots:
    """Weighted sums per slot; ``a + b`` are those of the slates of both.

    A reward's weight is that of all actions from the top down to it (per-decision importance sampling, Precup, Sutton,
    Singh 2000, ICML), and each slot gets the value and interval of
    :class:`~replay.evaluation.intervals.cressie_read.CressieRead`, which assumes a mean weight of 1. As
    ``ccb.multislot`` of vw-estimators; and as ``ccb.pdis_cressieread``, where slots are the positions and ``power`` is
    set.

    Attributes
    ----------
    slates
        How many slates, and how many more were dropped before they were logged.
    sums
        Per slot the sums over the slates that have it.

    Examples
    --------
    >>> both = [0.5, 0.5, 0.5], [0.5, 0.25, 0.5]
    >>> slots = Slots.of(Slates.of(slate=[1, 1, 2], position=[0, 1, 0], reward=[1, 1, 0], conditional=both))
    >>> slots.shown(), {slot: round(value, 9) for slot, value in slots.values().items()}
    ({0: 1.0, 1: 0.5}, {0: 0.5, 1: 0.5})
    """

    slates: float = 0.0
    sums: Mapping[int, WeightedSums] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Slates, *, p_drop: ArrayLike | None = None, n_drop: ArrayLike | None = None) -> "Slots":
        """Return the sums over some slates.

        Parameters
        ----------
        rows
            The slates, with the cascade's weights; the slot is their ``slot``, or else their position.
        p_drop, n_drop
            Of slates, as for :func:`~replay.evaluation.intervals.weighted_sums.checked`: one for all, or shape
            (slates,).

        Raises
        ------
        BadInput
            There are no weights of the cascade, or a slot comes twice in a slate.
        """
        slot = rows.position if rows.slot is None else rows.slot
        which = rows.slate_of_row
        if len(np.unique(np.stack([which, slot]), axis=1).T) < len(slot):
            raise BadInput("slot_twice", "slot", "a slot twice in a slate", "each once")
        weight = need(rows.weight_cascade, "weight_cascade")
        p, n = (None if each is None else np.broadcast_to(np.asarray(each), len(rows)) for each in (p_drop, n_drop))

        def sums(weights: Floats, rewards: Floats, slates: NDArray[np.int64]) -> WeightedSums:
            p_there, n_there = (None if each is None else each[slates] for each in (p, n))
            return WeightedSums.of(weights, rewards, p_drop=p_there, n_drop=n_there)

        every = np.arange(len(rows))
        return cls(
            sums(np.ones(len(rows)), np.zeros(len(rows)), every).rows,
            {
                int(number): sums(weight[slot == number], rows.reward[slot == number], which[slot == number])
                for number in np.unique(slot)
            },
        )

    def __add__(self, other: "Slots") -> "Slots":
        nothing = WeightedSums()
        names = sorted({*self.sums, *other.sums})
        both = {each: self.sums.get(each, nothing) + other.sums.get(each, nothing) for each in names}
        return Slots(self.slates + other.slates, both)

    def shown(self) -> dict[int, float]:
        """Return per slot the share of slates that have it."""
        return {slot: sums.rows / self.slates for slot, sums in self.sums.items()}

    def shown_intervals(self, *, alpha: float = 0.05) -> dict[int, Interval]:
        """Return the same with Clopper and Pearson's interval; ``alpha`` is the chance of a miss of each."""
        check_alpha(alpha)
        shares = {}
        for slot, share in self.shown().items():
            low, high = binomial(self.sums[slot].rows, self.slates, alpha=alpha)
            shares[slot] = Interval(share, low, high, "clopper-pearson")
        return shares

    def values(self, estimator: CressieRead | None = None, *, power: bool = False) -> dict[int, float | None]:
        """Return per slot the reward that a slate would have there, if it has the slot or not.

        Parameters
        ----------
        estimator
            With which bounds; the default ones if None.
        power
            Whether ``wmin`` and ``wmax`` are those of one position, to be taken to the power of the slot's place.
        """
        return {slot: each.value for slot, each in self.intervals(estimator, power=power).items()}

    def intervals(
        self,
        estimator: CressieRead | None = None,
        *,
        alpha: float = 0.05,
        power: bool = False,
        share_known: bool = True,
    ) -> dict[int, Interval]:
        """Return the same with intervals.

        Parameters
        ----------
        estimator, power
            As for :meth:`values`.
        alpha
            The chance of a miss.
        share_known
            Whether the share of slates with a slot counts as known, as in ``pdis_cressieread``. Else the ends are
            multiplied by those of :meth:`shown_intervals`, as in ``multislot``: each may miss with ``alpha``.
        """
        shares = self.shown_intervals(alpha=alpha)
        by_slot = {}
        for slot, given in self.given_shown(estimator, alpha=alpha, power=power).items():
            share = shares[slot]
            if share_known:
                share = replace(share, low=share.value, high=share.value)
            by_slot[slot] = _times(given, share)
        return by_slot

    def given_shown(
        self, estimator: CressieRead | None = None, *, alpha: float = 0.05, power: bool = False
    ) -> dict[int, Interval]:
        """Return per slot the reward where a slate has it; parameters and errors as :meth:`CressieRead.interval`."""
        plain = estimator or CressieRead()
        by_slot = {}
        for slot, sums in self.sums.items():
            bounded = replace(plain, wmin=plain.wmin ** (slot + 1), wmax=plain.wmax ** (slot + 1)) if power else plain
            by_slot[slot] = bounded.interval(sums, alpha=alpha)
        return by_slot

    def overall(self, estimator: CressieRead | None = None, *, alpha: float = 0.05) -> Interval:
        """Return the reward of a slot, whichever it is; its slots count as if they were independent of each other."""
        total = WeightedSums()
        for sums in self.sums.values():
            total = total + sums
        return (estimator or CressieRead()).interval(total, alpha=alpha)


def _times(interval: Interval, share: Interval) -> Interval:
    """Return a value and ends, times those of a share, which is not negative."""

    def end(value: float | None, choose: Callable[[float, float], float]) -> float | None:
        if value is None or share.low is None or share.high is None:
            return None
        return choose(value * share.low, value * share.high)

    value = None if interval.value is None or share.value is None else interval.value * share.value
    return replace(interval, value=value, low=end(interval.low, min), high=end(interval.high, max))
