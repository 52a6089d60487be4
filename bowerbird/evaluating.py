"""Evaluation as people ask for it: a log by its path, or whatever lies in memory, and a policy by its name."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from bowerbird import __version__
from bowerbird.judged_log import OF_THE_TABLE, Asked, judged_log
from policies.errors import WrongConfiguration
from replay.answer import Answer, How
from replay.evaluation import Options, evaluate
from replay.logs.chunk import Log
from replay.logs.formats import Format
from replay.logs.numbered import Names
from replay.passes import Against, OpenLog, Stages
from replay.run import processes

PARTS_EACH = 4
"""So many parts for each process: one that is slow does not keep all others waiting."""


def evaluated(asked: Asked, options: Options, command: str, stages: Stages, workers: int = 1) -> Answer:
    """Judge a policy on the log at a path.

    Parameters
    ----------
    asked, options
        Which log and policy, and what is asked for.
    command
        How to do it again.
    stages
        Is told what is done next.
    workers
        How many processes share the log; they change no bit of the answer.
    """
    target, open_log = judged_log(asked)
    other = None
    if asked.against is not None:
        if asked.kind is Format.TABLE:
            raise WrongConfiguration(f"--against: found {asked.against}, expected none: a table tells one target alone")
        other = Against(*judged_log(replace(asked, target=asked.against, policy=_judged_on(asked, open_log))))
    how = _how(command, asked.path, asked.kind)
    if workers == 1:
        return evaluate(open_log, target, how, options, stages, against=other)
    with processes(workers) as executor:
        parts = PARTS_EACH * workers
        return evaluate(open_log, target, how, options, stages, against=other, executor=executor, parts=parts)


def _judged_on(asked: Asked, open_log: OpenLog) -> str | None:
    """Return the policy whose outcomes the target is judged on: both must be."""
    return asked.policy or getattr(open_log, "learned_from", None)


def evaluated_in_memory(
    data: Any, columns: dict[str, str], segments: Collection[str], target: str | None, options: Options, stages: Stages
) -> Answer:
    """Judge on a table, a frame, or a bandit feedback of obp, that tells its target; see :func:`bowerbird.evaluate`."""
    from replay.logs.columns import Columns, as_log
    from replay.logs.obp_feedback import ObpFeedback

    of_obp = isinstance(data, Mapping) and "pscore" in data

    def open_log(wanted: Collection[str], for_target: bool, names: Names | None = None) -> Log:
        if of_obp:
            return ObpFeedback(data, data.get("action_dist"))
        return as_log(data, Columns(**columns, segments=tuple(segments)))

    how = _how("bowerbird.evaluate(...)", f"a {type(data).__name__} in memory", "in memory")
    return evaluate(open_log, target or OF_THE_TABLE, how, options, stages)


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
