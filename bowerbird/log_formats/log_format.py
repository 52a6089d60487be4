"""The protocol of a log format, and the one of a request."""

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, cast

from bowerbird.evaluation_request import EvaluationRequest, LogRequest
from records.errors import WrongConfiguration

if TYPE_CHECKING:
    from replay.evaluation.logs.chunk import Log, Progress
    from replay.evaluation.scan import PolicyLog, PolicyLogs

UNIFORM = "uniform"
_NOT_FOR_ALL = {
    "columns": "column",
    "external": "external",
    "placement": "placement",
    "prefix": "prefix",
    "whole_lists": "whole-lists",
}
"""The options that only some formats take, as the command names them."""


class LogFormat:
    """Opens logs of a format.

    Attributes
    ----------
    takes
        Those of the options ``columns``, ``external``, ``placement``, ``prefix`` and ``whole_lists`` that apply to it.
    """

    takes: ClassVar[frozenset[str]] = frozenset()

    def log(self, request: LogRequest, progress: "Progress") -> "Log":
        """Return the log without a target, as ``log describe`` reads it."""
        raise NotImplementedError

    def target(self, request: EvaluationRequest) -> "PolicyLog":
        """Return the log opened for the target.

        Raises
        ------
        WrongConfiguration
            The log, the target or an option does not exist, or they cannot be combined.
        StateRefused, BadInput
            The log is damaged.
        """
        raise NotImplementedError

    def against(self, request: EvaluationRequest, target: "PolicyLog") -> "PolicyLog | None":
        """Return the log opened for the policy to compare with; None: the logging policy.

        Errors are those of :meth:`target`, which has opened ``target``.
        """
        return None if request.against is None else self.target(replace(request, target=request.against))

    def with_all_loggers(
        self, request: EvaluationRequest, logs: "PolicyLogs", stages: "Callable[[str], Progress]"
    ) -> "PolicyLogs":
        """Return logs with the probabilities of all versions that wrote them, or with the reason why they lack them."""
        return logs._replace(lacks=f"found {request.kind}, expected an archive, whose versions are computed again")


def format_for(request: LogRequest) -> LogFormat:
    """Return the format of a log.

    Raises
    ------
    WrongConfiguration
        The format is unknown, or an option does not apply to it.
    """
    kind = request.kind
    found = cast(LogFormat, import_module(f"bowerbird.log_formats.{kind.name.lower()}").FORMAT)
    for name, option in _NOT_FOR_ALL.items():
        if name not in found.takes and getattr(request, name, None):
            raise WrongConfiguration(f"--{option}: expected none with --format {kind}")
    return found


def needed(request: EvaluationRequest) -> str:
    """Return the name of the target.

    Raises
    ------
    WrongConfiguration
        There is none.
    """
    if request.target is None:
        raise WrongConfiguration(f"--target: found none, expected the policy to evaluate, as {UNIFORM}")
    return request.target
