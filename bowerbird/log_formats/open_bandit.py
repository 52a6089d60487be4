"""Logs of the Open Bandit Dataset, for a policy whose probabilities depend only on item and position."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bowerbird.evaluation_request import EvaluationRequest, LogRequest
from bowerbird.log_formats.log_format import UNIFORM, LogFormat, needed

if TYPE_CHECKING:
    from replay.evaluation.logs.chunk import Log, Progress
    from replay.evaluation.logs.numbered import Names
    from replay.evaluation.rows import Floats
    from replay.evaluation.scan import PolicyLog


class OpenBanditFormat(LogFormat):
    """Opens logs of the dataset."""

    def log(self, request: LogRequest, progress: "Progress") -> "Log":
        """Return the log without a target."""
        from replay.evaluation.logs.open_bandit_columns import log_at
        from replay.evaluation.logs.open_bandit_log import ITSELF, OpenBanditLog

        return OpenBanditLog(log_at(Path(request.path)), ITSELF, segments=request.segments)

    def target(self, request: EvaluationRequest) -> "PolicyLog":
        """Return the log opened for the target."""
        from replay.evaluation.logs.open_bandit_log import read_target
        from replay.evaluation.scan import PolicyLog

        name = needed(request)
        target = None if name == UNIFORM else read_target(Path(name))
        return PolicyLog(name, _OpenBandit(request.path, target, tuple(request.segments)))


@dataclass(frozen=True, slots=True)
class _OpenBandit:
    """Open a log; it can be pickled for other processes."""

    path: str
    target: "Floats | None"
    segments: tuple[str, ...]

    def __call__(self, wanted: Collection[str], for_target: bool, names: "Names | None" = None) -> "Log":
        from replay.evaluation.logs.entries import WITHOUT_CONTEXTS
        from replay.evaluation.logs.open_bandit_columns import log_at
        from replay.evaluation.logs.open_bandit_log import OpenBanditLog

        entries = WITHOUT_CONTEXTS in wanted
        return OpenBanditLog(log_at(Path(self.path)), self.target, segments=self.segments, entries=entries, names=names)


FORMAT = OpenBanditFormat()
