"""Logs of the loop's outcomes, for a policy that is computed on each."""

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bowerbird.evaluation_request import EvaluationRequest, LogRequest
from bowerbird.log_formats.log_format import UNIFORM, LogFormat, needed
from bowerbird.settings import WrongSettings, find_file, load
from records.errors import WrongConfiguration

if TYPE_CHECKING:
    from policies.policy_store import PolicyIdentity
    from replay.evaluation.logs.chunk import Log, Progress
    from replay.evaluation.logs.numbered import Names
    from replay.evaluation.logs.outcome_source import Outcomes
    from replay.evaluation.logs.predicted import Logger
    from replay.evaluation.scan import PolicyLog
    from replay.proof.archived_policy import ArchivedPolicy


class OutcomesFormat(LogFormat):
    """Opens logs of outcomes; a format says where they are and what its policies are."""

    takes = frozenset({"external", "placement", "whole_lists"})

    def outcomes(self, request: LogRequest, progress: "Progress") -> "Outcomes":
        """Return the outcomes."""
        raise NotImplementedError

    def policy(self, request: EvaluationRequest, name: str) -> "ArchivedPolicy":
        """Return a policy by its name; by default one of the settings as it is before it learns."""
        return version_0(name, request)

    def log(self, request: LogRequest, progress: "Progress") -> "Log":
        """Return the log without a target; the number of missing outcomes is part of its description."""
        from replay.evaluation.logs.outcome_selection import OutcomeOptions
        from replay.evaluation.logs.outcomes import OutcomeLog

        outcomes, of, segments = self.outcomes(request, progress), request.placement, request.segments
        return OutcomeLog(
            outcomes, None, OutcomeOptions(of, external=None, mixed=of is None, segments=segments, count_missing=True)
        )

    def target(self, request: EvaluationRequest) -> "PolicyLog":
        """Return the log opened for the target."""
        from replay.evaluation.scan import PolicyLog
        from replay.proof.archived_policy import uniform

        target = needed(request)
        if target.endswith(".npy"):
            raise WrongConfiguration(
                f"--target: found {target}, expected a policy: an array has no contexts; try open-bandit"
            )
        archived = uniform() if target == UNIFORM else self.policy(request, target)
        policy = archived.policy
        try:
            saved = (policy.kind, policy.arguments, policy.dump(), archived.learned_from, archived.cut)
            return PolicyLog(archived.name, PolicyOutcomes(self, request, archived.name, *saved))
        finally:
            policy.close()

    def against(self, request: EvaluationRequest, target: "PolicyLog") -> "PolicyLog | None":
        """Return the log opened for the policy to compare with, on the outcomes of the target's placement."""
        assert isinstance(target.open_log, PolicyOutcomes)
        return super().against(replace(request, placement=target.open_log.placement), target)


@dataclass(frozen=True, slots=True)
class SavedLogger:
    """The saved model of a version that wrote a log, and its share of the rows."""

    version: str
    kind: str
    arguments: str
    model: bytes
    share: float

    def made(self) -> "Logger":
        """Load the policy."""
        from policies.registry import make
        from replay.evaluation.logs.predicted import Logger

        return Logger(self.version, make(self.kind, self.arguments, self.model), self.share)


@dataclass(frozen=True, slots=True)
class PolicyOutcomes:
    """Open outcomes of the loop for a policy; it can be pickled, and each process loads the policy from its bytes."""

    format: OutcomesFormat
    request: EvaluationRequest
    name: str
    policy_kind: str
    arguments: str
    model: bytes
    learned_from: tuple[str, ...]
    cut: int
    loggers: tuple[SavedLogger, ...] = ()

    @property
    def placement(self) -> str | None:
        """The placement whose outcomes are used; None: the only one in the log."""
        if self.request.placement is None and len(self.learned_from) == 1:
            return self.learned_from[0]
        return self.request.placement

    def __call__(self, wanted: Collection[str], for_target: bool, names: "Names | None" = None) -> "Log":
        """Return the log: see :class:`replay.evaluation.scan.OpenLog`."""
        from policies.registry import make
        from replay.evaluation.logs.chunk import MEAN_PROPENSITY, silent
        from replay.evaluation.logs.outcome_selection import OutcomeOptions
        from replay.evaluation.logs.outcomes import OutcomeLog
        from replay.proof.archived_policy import ArchivedPolicy

        request, target = self.request, None
        if for_target:
            policy = make(self.policy_kind, self.arguments, self.model)
            target = ArchivedPolicy(self.name, policy, self.learned_from, self.cut)
        of, segments = self.placement, request.segments
        loggers = [each.made() for each in self.loggers] if MEAN_PROPENSITY in wanted else ()
        outcomes = self.format.outcomes(request, silent)
        return OutcomeLog(
            outcomes,
            target,
            OutcomeOptions(
                of,
                request.external,
                wanted=wanted,
                segments=segments,
                names=names,
                loggers=loggers,
                whole_lists=request.whole_lists,
            ),
        )


def version_0(target: str, request: EvaluationRequest) -> "ArchivedPolicy":
    """Return a policy of the settings as it is before it learns.

    Raises
    ------
    WrongConfiguration
        The settings have no policy of this name, or another version is named.
    """
    from replay.proof.archived_policy import ArchivedPolicy

    name, _, version = target.partition("@")
    given = configured(request.config, name)
    if given is None or version not in ("", "0"):
        raise WrongConfiguration(
            f"--target: found {target}, expected {UNIFORM}, or a policy of bowerbird.toml as it is before it learns: "
            f"published versions are computed from an archive, not from {request.kind}"
        )
    return ArchivedPolicy(f"{name}@0", given.make())


def configured(file: Path | None, name: str) -> "PolicyIdentity | None":
    """Return a policy of the settings; None if they have no policy of this name."""
    from stream.config import identity_in

    try:
        config = load(file)
    except WrongSettings:
        # Without a settings file the policy is unknown, which the caller reports.
        if find_file(file, os.environ) is not None:
            raise
        return None
    return identity_in(config, name) if name in config.policies else None
