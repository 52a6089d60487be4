"""Outcomes as lines of JSON."""

from pathlib import Path
from typing import TYPE_CHECKING

from bowerbird.evaluation_request import EvaluationRequest, LogRequest
from bowerbird.log_formats.outcomes import OutcomesFormat

if TYPE_CHECKING:
    from replay.evaluation.logs.chunk import Progress
    from replay.evaluation.logs.json_outcomes import JsonLines
    from replay.evaluation.scan import PolicyLog


class JsonLinesFormat(OutcomesFormat):
    """Opens lines of JSON."""

    def outcomes(self, request: LogRequest, progress: "Progress") -> "JsonLines":
        """Return the outcomes."""
        from replay.evaluation.logs.json_outcomes import JsonLines

        return JsonLines(Path(request.path))

    def target(self, request: EvaluationRequest) -> "PolicyLog":
        """Return the log opened for the target; a file of another kind is reported before a missing target."""
        from replay.evaluation.logs.chunk import silent

        if request.target is None:
            self.outcomes(request, silent).check_kind()
        return super().target(request)


FORMAT = JsonLinesFormat()
