"""Evaluation as people ask for it: a log by its path, or data in memory, and a policy by its name."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from bowerbird.all_loggers import NO_COLUMN, with_all_loggers
from bowerbird.evaluation_request import EvaluationRequest
from bowerbird.judged_log import (
    OTHER_OF_THE_TABLE,
    UNIFORM,
    compared_log,
    judged_log,
    needs_target,
    table_columns,
    target_of_table,
)
from bowerbird.version import __version__
from records.errors import WrongConfiguration, shorten
from replay.evaluation.answer import Answer
from replay.evaluation.evaluate import evaluate
from replay.evaluation.logs.chunk import Log
from replay.evaluation.logs.numbered import Names
from replay.evaluation.logs.outcome_frames import table_of_outcomes
from replay.evaluation.result import How
from replay.evaluation.run import processes
from replay.evaluation.scan import Against, OpenLog, Stages

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
        How many processes share the log; they change no bit of the answer.
    """
    target, open_log = judged_log(request)
    other, lacks = compared_log(request, getattr(open_log, "judged_on", None)), ""
    if request.balanced:
        open_log, other, lacks = with_all_loggers(request, open_log, other, stages)
    how = _how(command, request.path, request.kind)
    if workers == 1:
        return evaluate(open_log, target, how, request, stages, against=other, lacks=lacks)
    with processes(workers) as executor:
        parts = PARTS_EACH * workers
        return evaluate(
            open_log, target, how, request, stages, against=other, executor=executor, parts=parts, lacks=lacks
        )


def evaluated_in_memory(request: EvaluationRequest, stages: Stages) -> Answer:
    """Evaluate a policy on a table, a frame or a bandit feedback of obp that contains the policy's probabilities."""
    data = table_of_outcomes(request.log, request.placement, request.external)
    against = request.against
    name = target_of_table(request.target)
    open_log, open_other = _in_memory(request, data)
    if against is not None and open_other is None:
        expected = "columns={'against': ...}, or against_dist in a bandit feedback"
        raise WrongConfiguration(f"against: found {against} and nothing of its probabilities, expected {expected}")
    other = None if open_other is None else Against(against or OTHER_OF_THE_TABLE, open_other)
    how = _how("bowerbird.evaluate(...)", f"a {type(data).__name__} in memory", "in memory")
    return evaluate(open_log, name, how, request, stages, against=other, lacks=NO_COLUMN)


def _in_memory(request: EvaluationRequest, data: Any) -> tuple[OpenLog, OpenLog | None]:
    """Return what opens the log for the target and for the compared policy, if the data contain its probabilities."""
    import pyarrow as pa

    from replay.evaluation.logs.columns import as_log
    from replay.evaluation.logs.obp_feedback import ObpFeedback

    uniform, against_uniform = request.target == UNIFORM, request.against == UNIFORM
    if isinstance(data, pa.RecordBatchReader):
        raise WrongConfiguration(
            "log: found a reader, which gives its rows once, expected a table, as read_all() returns"
        )
    if _is_feedback(data, columns):
        _check_none_given(columns, segments)
        one, other = (data.get(name) for name in ("action_dist", "against_dist"))
        one, other = (UNIFORM if uniform else one), (UNIFORM if against_uniform else other)
        read: Callable[[Any], Log] = partial(ObpFeedback, data)
    else:
        one, other = table_columns(request.columns or {}, request.segments)
        other = replace(one.for_other(), uniform=True) if against_uniform else other
        one = replace(one, uniform=uniform)
        read = partial(as_log, data)

    def opens(judged: Any) -> OpenLog:
        def open_log(wanted: Collection[str], for_target: bool, names: Names | None = None) -> Log:
            log = read(judged)
            if not getattr(log, "has_target", judged is not None):
                archived = "give the path of an archive, and what any version of a policy would do is computed"
                raise WrongConfiguration(f"{needs_target(f'the {type(data).__name__}')}; or {archived}")
            return log

        return open_log

    return opens(one), None if other is None else opens(other)


def _is_feedback(data: Any, columns: Mapping[str, str]) -> bool:
    """Return whether this is a bandit feedback of obp, and no table that has a column ``pscore``."""
    if not isinstance(data, Mapping) or "pscore" not in data:
        return False
    return any(name in data for name in _OF_FEEDBACK) or not (columns or "propensity" in data)


def _check_none_given(columns: Mapping[str, str], segments: Collection[str]) -> None:
    for name, given in (("columns", [*columns]), ("segments", [*segments])):
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
