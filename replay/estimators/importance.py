"""Estimators by importance weights alone."""

from typing import Any

from replay.estimators.estimator import Estimator, Means
from replay.judged import Floats, Judged


class InversePropensity(Estimator):
    """The mean of weight times reward."""

    name = "ips"
    reference = "Horvitz and Thompson 1952; Li et al. 2011, eq. 3"

    def terms(self, rows: Judged) -> dict[str, Floats]:
        """Return weight times reward."""
        return {"w r": rows.weight * rows.reward}

    def value(self, means: Means) -> Any:
        """Return its mean."""
        return means["w r"]


class SelfNormalised(Estimator):
    """The same divided by the mean weight: bounded by the rewards, narrower, a little biased."""

    name = "snips"
    reference = "Swaminathan and Joachims 2015, eq. 8"

    def terms(self, rows: Judged) -> dict[str, Floats]:
        """Return weight times reward, and the weight."""
        return {"w r": rows.weight * rows.reward, "w": rows.weight}

    def value(self, means: Means) -> Any:
        """Return the ratio of their means."""
        return means["w r"] / means["w"]
