"""Evaluation of a log at a path, or of data in memory."""

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from bowerbird.evaluation_request import EvaluationRequest
from bowerbird.log_formats.log_format import UNIFORM, format_for
from bowerbird.log_formats.table import AGAINST, NO_COLUMN, needs_target, table_columns, target_of_table
from bowerbird.version import __version__
from records.errors import WrongConfiguration, shorten
from replay.evaluation.answer import Answer
from replay.evaluation.evaluate import Parts, evaluate
from replay.evaluation.logs.chunk import Log
from replay.evaluation.logs.numbered import Names
from replay.evaluation.logs.outcome_frames import table_of_outcomes
from replay.evaluation.result import How
from replay.evaluation.run import processes
from replay.evaluation.scan import OpenLog, PolicyLog, PolicyLogs, Stages

_OF_FEEDBACK = ("action_dist", "against_dist", "n_actions", "pi_b")
"""Keys that a bandit feedback of obp has, and a table does not."""
PARTS_EACH = 4
"""So many parts for each process: one that is slow does not keep all others waiting."""


def evaluated(request: EvaluationRequest, command: str, stages: Stages, workers: int = 1) -> Answer:
    """Evaluate a policy on the log at a path.

    Parameters
    ----------
    request
        The log, the policies, and how to evaluate them.
    command
        The command that repeats it.
    stages
        Called with the name of each stage when it begins.
    workers
        Number of processes that share the log; they change no bit of the answer.
    """
    log_format = format_for(request)
    target = log_format.target(request)
    logs = PolicyLogs(target, log_format.against(request, target))
    if request.balanced:
        logs = log_format.with_all_loggers(request, logs, stages)
    how = _how(command, request.path, request.kind)
    if workers == 1:
        return evaluate(logs, how, request, stages)
    with processes(workers) as executor:
        return evaluate(logs, how, request, stages, Parts(executor, PARTS_EACH * workers))


def evaluated_in_memory(request: EvaluationRequest, stages: Stages) -> Answer:
    """Evaluate a policy on a table, a frame or a bandit feedback of obp that contains the policy's probabilities."""
    for option, given in (("format", request.format), ("prefix", request.prefix)):
        if given:
            raise WrongConfiguration(f"{option}: found {shorten(str(given))} with data in memory, expected none")
    if request.whole_lists:
        raise WrongConfiguration("whole_lists: expected none with data in memory, which has no ranked lists")
    data = table_of_outcomes(request.log, request.placement, request.external)
    name, against = target_of_table(request), request.against
    open_log, open_other = _in_memory(request, data)
    if against is not None and open_other is None:
        expected = "columns={'against': ...}, or against_dist in a bandit feedback"
        raise WrongConfiguration(f"against: found {against} and nothing of its probabilities, expected {expected}")
    other = None if open_other is None else PolicyLog(against or AGAINST, open_other)
    how = _how("bowerbird.evaluate(...)", f"a {type(data).__name__} in memory", "in memory")
    return evaluate(PolicyLogs(PolicyLog(name, open_log), other, NO_COLUMN), how, request, stages)


def _in_memory(request: EvaluationRequest, data: Any) -> tuple[OpenLog, OpenLog | None]:
    """Return what opens the log for the target and for the compared policy, if the data contain its probabilities."""
    import pyarrow as pa

    from replay.evaluation.logs.columns import as_log
    from replay.evaluation.logs.obp_feedback import ObpFeedback

    if isinstance(data, pa.RecordBatchReader):
        raise WrongConfiguration(
            "log: found a reader, which gives its rows once, expected a table, as read_all() returns"
        )
    if _is_feedback(data, request):
        _check_none_given(request)
        one = UNIFORM if request.target == UNIFORM else data.get("action_dist")
        other = UNIFORM if request.against == UNIFORM else data.get("against_dist")
        read: Callable[[Any], Log] = partial(ObpFeedback, data)
    else:
        one, other = table_columns(request)
        read = partial(as_log, data)

    def opens(policy: Any) -> OpenLog:
        def open_log(wanted: Collection[str], for_target: bool, names: Names | None = None) -> Log:
            log = read(policy)
            if not getattr(log, "has_target", policy is not None):
                archived = "give the path of an archive, and what any version of a policy would do is computed"
                raise WrongConfiguration(f"{needs_target(f'the {type(data).__name__}')}; or {archived}")
            return log

        return open_log

    return opens(one), None if other is None else opens(other)


def _is_feedback(data: Any, request: EvaluationRequest) -> bool:
    """Return whether this is a bandit feedback of obp, and no table that has a column ``pscore``."""
    if not isinstance(data, Mapping) or "pscore" not in data:
        return False
    return any(name in data for name in _OF_FEEDBACK) or not (request.columns or "propensity" in data)


def _check_none_given(request: EvaluationRequest) -> None:
    for name, given in (("columns", request.columns or ()), ("segments", request.segments)):
        if given:
            raise WrongConfiguration(
                f"{name}: found {shorten(', '.join(map(str, given)))} for a bandit feedback of obp, which has neither "
                "units nor segments, expected none; a mapping or a frame has them, with the columns reward, propensity "
                "and target, or pmf and target_pmf"
            )


def _how(command: str, log: str, written_in: str) -> How:
    return How(
        command=command,
        bowerbird=__version__,
        log=log,
        format=written_in,
        estimand="",
        model=None,
        resamples=0,
        digest="",
    )
