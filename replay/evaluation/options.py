"""The options of an evaluation: the only place where they, their defaults and their help texts are defined.

The command's options and the keywords of :func:`bowerbird.evaluate` are made from the record. It imports no package of
the extra ``evaluate``, so that the command's help needs none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from records.described import Described
from records.errors import WrongConfiguration
from replay.evaluation.option_values import check_options

AUTOMATIC, NO_MODEL = "auto", "none"
DEFAULT_MODEL = "action-means"
"""Trains as fast as a log is read and needs no package; other models use the context and take longer."""
SEEDS = 2**63
MOST_RESAMPLES = 1_000_000
"""They take 8 bytes of each of some dozen terms."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of an evaluation; see the text of each."""

    estimators: Annotated[
        Sequence[str],
        Described(
            "Estimators in addition to ips and snips (docs/estimators.md); by default those that fit the log.",
            "NAME",
            each="estimator",
        ),
    ] = ()
    model: Annotated[
        str,
        Described(
            "The reward model: none, action-means, vw, ridge, … (docs/reward-models.md), or auto: means per action if "
            "the log has all actions of a decision, and units or times.",
            "NAME",
        ),
    ] = AUTOMATIC
    folds: Annotated[
        str,
        Described(
            "Rows that the model of a row must not have seen; auto: past for a learner's log, otherwise by unit, "
            "otherwise by time.",
            "past|unit|time",
        ),
    ] = AUTOMATIC
    fixed_loggers: Annotated[
        bool,
        Described(
            "The versions were fixed in advance, as the arms of a test, and are not versions of one learner; weights "
            "are balanced over them if the log has the probabilities of all of them."
        ),
    ] = False
    expected_shares: Annotated[
        Mapping[str, float] | None,
        Described(
            "Expected share of the rows of each version, or arm of a test; a log that differs has lost rows.",
            "VERSION=SHARE",
            each="expected_share",
        ),
    ] = None
    whole_lists: Annotated[
        bool,
        Described(
            "Weigh a ranked list as a whole, in case the reward of a place depends on the places below it; by default "
            "place by place, which is more precise."
        ),
    ] = False
    resamples: Annotated[int, Described("Number of bootstrap resamples; 0 disables the bootstrap.", "N")] = 0
    seed: Annotated[int, Described("Random seed of the bootstrap.", "N")] = 0
    interval: Annotated[
        str,
        Described(
            "The intervals: saddlepoint, betting, … (docs/evaluation.md), or auto: by unit where units return, else by "
            "the delta method, and over time the gamma-exponential confidence sequence.",
            "NAME",
        ),
    ] = AUTOMATIC
    largest_weight: Annotated[
        float | None, Described("The largest possible weight, for intervals that use it.", "X")
    ] = None
    reward_range: Annotated[
        tuple[float, float] | None,
        Described(
            "Smallest and largest possible reward; by default the range of the rules in the log, or 0 and 1 in a log "
            "without rules.",
            "LEAST MOST",
        ),
    ] = None

    def __post_init__(self) -> None:
        check_options(self)
        if not 0 <= self.resamples <= MOST_RESAMPLES:
            raise WrongConfiguration(f"resamples: found {self.resamples}, expected 0 to {MOST_RESAMPLES:,}")
        if not 0 <= self.seed < SEEDS:
            raise WrongConfiguration(f"seed: found {self.seed}, expected 0 to 2^63 - 1")
        if self.reward_range is not None and not self.reward_range[0] < self.reward_range[1]:
            low, high = self.reward_range
            raise WrongConfiguration(f"reward range: found {low:g} to {high:g}, expected room between them")

    @property
    def balanced(self) -> bool:
        """Whether to use balanced weights: named estimators need them, or loggers are fixed and none is named."""
        from replay.evaluation.estimators.balanced import PREFIX

        return any(each.startswith(PREFIX) for each in self.estimators) or (self.fixed_loggers and not self.estimators)
