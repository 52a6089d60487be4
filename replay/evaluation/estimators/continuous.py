"""Estimators for continuous actions, such as a price: no two are ever equal, so near ones count, by a kernel."""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from records.errors import BadInput, WrongConfiguration
from replay.evaluation.estimators.doubly_robust import DoublyRobust
from replay.evaluation.estimators.estimator import Estimator, Means, need
from replay.evaluation.estimators.importance import InversePropensity, SelfNormalised
from replay.evaluation.rows import EvaluationRows, Floats, Hashes


def gaussian(distance: Floats) -> Floats:
    """Return the density of the normal distribution, ``exp(-u^2 / 2) / sqrt(2 pi)``."""
    density: Floats = np.exp(-np.square(distance) / 2) / math.sqrt(2 * math.pi)
    return density


def epanechnikov(distance: Floats) -> Floats:
    """Return ``3/4 (1 - u^2)``, and 0 from a distance of 1."""
    return 0.75 * (1 - np.square(np.clip(distance, -1, 1)))


def triangular(distance: Floats) -> Floats:
    """Return ``1 - |u|``, and 0 from a distance of 1."""
    return 1 - np.abs(np.clip(distance, -1, 1))


def cosine(distance: Floats) -> Floats:
    """Return ``pi/4 cos(pi u / 2)``, and 0 from a distance of 1."""
    near = np.abs(distance) < 1
    density: Floats = np.where(near, math.pi / 4 * np.cos(np.clip(distance, -1, 1) * math.pi / 2), 0.0)
    return density


KERNELS: Final[dict[str, Callable[[Floats], Floats]]] = {
    "gaussian": gaussian,
    "epanechnikov": epanechnikov,
    "triangular": triangular,
    "cosine": cosine,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuous:
    """Some rows of a log of continuous actions; every column has the shape (rows,).

    Attributes
    ----------
    action, target_action
        What was done, and what the target would have done.
    density
        The logging policy's probability density at ``action``, above 0; its unit is one over that of the action.
    reward
        What was earned.
    model_target
        Prediction of a reward model for the target's action, q(x, pi(x)).
    event_hash, unit_hash
        As in :class:`~replay.evaluation.rows.EvaluationRows`.

    Raises
    ------
    BadInput
        A column has another length, a number is not finite, or a density is not above 0.
    """

    action: Floats
    target_action: Floats
    density: Floats
    reward: Floats
    model_target: Floats | None = None
    event_hash: Hashes | None = None
    unit_hash: Hashes | None = None

    def __post_init__(self) -> None:
        for name in ("action", "target_action", "density", "reward", "model_target"):
            if getattr(self, name) is None:
                continue
            column = np.asarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, column)
            if column.shape != (len(self.reward),):
                raise BadInput(
                    "wrong_shape", name, f"the shape {column.shape}", f"one number a row: ({len(self.reward)},)"
                )
            if not np.isfinite(column).all():
                raise BadInput("not_finite", name, str(column[~np.isfinite(column)][0]), "finite numbers")
        wrong = self.density[self.density <= 0]
        if wrong.size:
            raise BadInput("wrong_density", "density", str(wrong[0]), "densities above 0")

    def __len__(self) -> int:
        return len(self.reward)

    def where(self, which: Any) -> "Continuous":
        """Return some of the rows: flags, numbers or a slice of them."""
        columns: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        kept: dict[str, Any] = {name: None if value is None else value[which] for name, value in columns.items()}
        return Continuous(**kept)

    def evaluation_rows(self, kernel: str, bandwidth: float) -> EvaluationRows:
        """Return evaluation rows for any estimator, interval or warning.

        The target becomes a small neighbourhood of its action, with the density ``K(u) / h``; so a row's weight is
        ``K((pi(x) - a) / h) / (h mu(a|x))`` (Kallus and Zhou 2018, AISTATS). The reward model says the same of the
        logged action as of the target's: inside of the neighbourhood, it is.

        Parameters
        ----------
        kernel
            A name in :data:`KERNELS`.
        bandwidth
            The neighbourhood's radius h, in the unit of the action. A larger one has more bias and less variance.

        Raises
        ------
        WrongConfiguration
            There is no such kernel, or the bandwidth is not a finite number above 0.

        Examples
        --------
        >>> ones = np.ones(2)
        >>> rows = Continuous(action=np.array([1.0, 3.0]), target_action=ones, density=0.5 * ones, reward=ones)
        >>> rows.evaluation_rows("triangular", 2.0).weight.tolist()
        [1.0, 0.0]
        """
        check(kernel, bandwidth)
        target = KERNELS[kernel]((self.target_action - self.action) / bandwidth) / bandwidth
        return EvaluationRows(
            reward=self.reward,
            propensity=self.density,
            target=target,
            model_logged=self.model_target,
            model_target=self.model_target,
            event_hash=self.event_hash,
            unit_hash=self.unit_hash,
        )


@dataclass(frozen=True)
class Kernelised(Estimator[Continuous]):
    """An estimator of single actions on the rows of :meth:`Continuous.evaluation_rows`.

    Parameters
    ----------
    kernel, bandwidth
        As there.

    Raises
    ------
    WrongConfiguration
        As there.
    """

    kernel: str
    bandwidth: float

    def __post_init__(self) -> None:
        check(self.kernel, self.bandwidth)

    @property
    @abstractmethod
    def plain(self) -> Estimator:
        """The estimator of single actions."""

    def terms(self, rows: Continuous) -> dict[str, Floats]:
        """Return its terms, with kernel and bandwidth in their names."""
        for name in self.needs:
            need(getattr(rows, name), name)
        terms = self.plain.terms(rows.evaluation_rows(self.kernel, self.bandwidth))
        return {f"{name} [{self._where}]": column for name, column in terms.items()}

    def value(self, means: Means) -> Any:
        """Return its value."""
        end = f" [{self._where}]"
        return self.plain.value({name.removesuffix(end): mean for name, mean in means.items() if name.endswith(end)})

    @property
    def _where(self) -> str:
        return f"{self.kernel} {self.bandwidth!r}"


class KernelInversePropensity(Kernelised):
    """The mean of weight times reward, ``mean(K(u) r / (h mu))``, for a target with one action a row.

    Biased by what the reward does within a bandwidth, and wide where the bandwidth is small.
    """

    name = "kernel-ips"
    reference = "Kallus and Zhou 2018, AISTATS (kernelised IPW)"

    @property
    def plain(self) -> Estimator:
        """IPS."""
        return InversePropensity()


class KernelSelfNormalised(Kernelised):
    """The same divided by the mean weight; unknown where no logged action is near the target's."""

    name = "kernel-snips"
    reference = "Kallus and Zhou 2018, AISTATS (kernelised IPW, normalised)"

    @property
    def plain(self) -> Estimator:
        """SNIPS."""
        return SelfNormalised()


class KernelDoublyRobust(Kernelised):
    """The reward model's word of the target's action, corrected near it: ``mean(q + K(u) (r - q) / (h mu))``."""

    name = "kernel-dr"
    reference = "Kallus and Zhou 2018, AISTATS (kernelised DR)"
    needs = ("model_target",)

    @property
    def plain(self) -> Estimator:
        """DR."""
        return DoublyRobust()


@dataclass(frozen=True, slots=True)
class Discretised:
    """A policy that draws evenly around the centre of one of some equal pieces of a range, as VW's ``--cats`` does.

    It has a density, so a log is evaluated for it without a kernel: ``target = policy.density(...)`` in
    :class:`~replay.evaluation.rows.EvaluationRows`, ``propensity`` the logged density.

    Parameters
    ----------
    actions
        How many pieces.
    bandwidth
        How far from the centre it draws, in the unit of the action; cut at the ends of the range.
    low, high
        The range.

    Raises
    ------
    WrongConfiguration
        There is no piece, or the range or the bandwidth is empty or not finite.

    Examples
    --------
    >>> policy = Discretised(actions=4, bandwidth=1.0, low=0.0, high=8.0)
    >>> policy.centre([0.5, 7.9]).tolist(), policy.density([1.5, 2.5], [0.5, 0.5]).tolist()
    ([1.0, 7.0], [0.5, 0.0])
    """

    actions: int
    bandwidth: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if self.actions < 1:
            raise WrongConfiguration(f"actions: found {self.actions!r}, expected at least 1")
        if not (math.isfinite(self.high - self.low) and self.low < self.high):
            raise WrongConfiguration(f"low and high: found {self.low!r} and {self.high!r}, expected a range")
        if not 0 < self.bandwidth < math.inf:
            raise WrongConfiguration(f"bandwidth: found {self.bandwidth!r}, expected a number above 0")

    def centre(self, predicted: ArrayLike) -> Floats:
        """Return the centre of the piece of each predicted action; values beyond the ends use the outermost pieces."""
        piece = (self.high - self.low) / self.actions
        number = np.floor((np.asarray(predicted, dtype=np.float64) - self.low) / piece)
        return self.low + np.clip(number, 0, self.actions - 1) * piece + piece / 2

    def density(self, action: ArrayLike, predicted: ArrayLike) -> Floats:
        """Return the density at some actions, where the policy was about to do the predicted ones; shape (rows,)."""
        logged, centre = np.asarray(action, dtype=np.float64), self.centre(predicted)
        span = np.minimum(self.high, centre + self.bandwidth) - np.maximum(self.low, centre - self.bandwidth)
        # An action that was drawn at the very end must not fall outside by a rounding.
        reach = np.maximum(self.bandwidth, 1e-9 * np.maximum(np.abs(logged), np.abs(centre)))
        return np.where(np.abs(logged - centre) <= reach, 1 / span, 0.0)


def check(kernel: str, bandwidth: float) -> None:
    """Refuse a kernel that there is not, and a bandwidth of nothing.

    Raises
    ------
    WrongConfiguration
        It is one.
    """
    if kernel not in KERNELS:
        raise WrongConfiguration(f"kernel: found {kernel!r}, expected one of {', '.join(KERNELS)}")
    if not 0 < bandwidth < math.inf:
        raise WrongConfiguration(f"bandwidth: found {bandwidth!r}, expected a finite number above 0")
