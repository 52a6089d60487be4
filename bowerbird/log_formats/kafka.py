"""The outcomes that a service's Kafka holds now."""

from dataclasses import replace
from typing import TYPE_CHECKING

from bowerbird.evaluation_request import EvaluationRequest, LogRequest
from bowerbird.log_formats.outcomes import OutcomesFormat, version_0
from bowerbird.settings import load, service_at

if TYPE_CHECKING:
    from replay.evaluation.logs.chunk import Progress
    from replay.evaluation.logs.outcome_source import Outcomes
    from replay.proof.archived_policy import ArchivedPolicy


class KafkaFormat(OutcomesFormat):
    """Opens the topic of outcomes; the path is that of the service's settings."""

    def outcomes(self, request: LogRequest, progress: "Progress") -> "Outcomes":
        """Return the outcomes."""
        from bowerbird.live_log import live_outcomes
        from replay.evaluation.logs.message_outcomes import MessageOutcomes

        return MessageOutcomes(live_outcomes(load(service_at(request.path)), progress))

    def policy(self, request: EvaluationRequest, name: str) -> "ArchivedPolicy":
        """Return a policy of the service as it is before it learns."""
        return version_0(name, replace(request, config=service_at(request.path)))


FORMAT = KafkaFormat()
