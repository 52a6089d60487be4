"""An archive, whose policies are computed again as they were at any version."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from bowerbird.evaluation_request import EvaluationRequest, LogRequest
from bowerbird.log_formats.outcomes import OutcomesFormat, configured

if TYPE_CHECKING:
    from archive.reader import Archive
    from replay.evaluation.logs.chunk import Progress
    from replay.evaluation.logs.outcome_source import Outcomes
    from replay.evaluation.scan import PolicyLogs
    from replay.proof.archived_policy import ArchivedPolicy


class ArchiveFormat(OutcomesFormat):
    """Opens archives."""

    takes = OutcomesFormat.takes | {"prefix"}

    def outcomes(self, request: LogRequest, progress: "Progress") -> "Outcomes":
        """Return the outcomes."""
        from replay.evaluation.logs.archive import ArchivedOutcomes

        return ArchivedOutcomes(_archive(request))

    def policy(self, request: EvaluationRequest, name: str) -> "ArchivedPolicy":
        """Return a policy as it was at a version, computed again."""
        from replay.proof.archived_policy import archived_policy

        return archived_policy(_archive(request), name, lambda each: configured(request.config, each))

    def with_all_loggers(
        self, request: EvaluationRequest, logs: "PolicyLogs", stages: "Callable[[str], Progress]"
    ) -> "PolicyLogs":
        """Return logs with the probabilities of all versions that wrote the archive."""
        from bowerbird.all_loggers import with_all_loggers

        return with_all_loggers(request, logs, stages)


def _archive(request: LogRequest) -> "Archive":
    from archive.reader import Archive

    return Archive.at(request.path, request.prefix)


FORMAT = ArchiveFormat()
