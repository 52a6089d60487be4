"""Who else might have decided: of an archive, every version that wrote it, computed again, for balanced weights."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from archive.reader import Archive
from bowerbird.evaluation_request import EvaluationRequest
from bowerbird.log_formats.outcomes import PolicyOutcomes, SavedLogger, configured
from records.errors import StateRefused, WrongConfiguration
from records.fields import EXTERNAL
from replay.evaluation.logs.entries import WITH_CONTEXTS
from replay.evaluation.scan import OpenLog, PolicyLog, PolicyLogs, Stages
from replay.proof.archived_policy import archived_policy

MOST = 16
"""Each takes a prediction a row. A log of more versions is a learner's, over which balanced weights are biased."""


def with_all_loggers(request: EvaluationRequest, logs: PolicyLogs, stages: Stages) -> PolicyLogs:
    """Compute what all versions that wrote an archive would have done.

    Raises
    ------
    StateRefused, BadInput
        The log is damaged.
    """
    target, against = logs.target, logs.against
    rows = _rows_by_version(target.open_log, stages)
    try:
        loggers = _saved(request, _checked(rows), stages)
    except (WrongConfiguration, StateRefused) as error:
        return logs._replace(lacks=str(error).removeprefix("--target: "))
    return PolicyLogs(_with(target, loggers), None if against is None else _with(against, loggers), "")


def _with(log: PolicyLog, loggers: tuple[SavedLogger, ...]) -> PolicyLog:
    assert isinstance(log.open_log, PolicyOutcomes)
    return log._replace(open_log=replace(log.open_log, loggers=loggers))


def _rows_by_version(open_log: OpenLog, stages: Stages) -> dict[str, int]:
    """Return of each version how many rows it wrote, of those that the target can be evaluated on."""
    # With contexts, so that what nobody can be asked about is left out here as it will be then.
    log, counts = open_log({"version", WITH_CONTEXTS}, True), Counter[int]()
    for chunk in log.blocks(stages("counting")):
        assert chunk.rows.version is not None
        counts.update(dict(enumerate(np.bincount(chunk.rows.version).tolist())))
    names = log.names.versions.names
    return {names[number]: count for number, count in sorted(counts.items()) if count}


def _checked(rows: Mapping[str, int]) -> Mapping[str, int]:
    if not rows:
        raise WrongConfiguration("found no row, expected a decision that can be used")
    if any(name.endswith(f"@{EXTERNAL}") for name in rows):
        raise WrongConfiguration("found decisions of another system, expected versions that can be computed again")
    if len(rows) > MOST:
        raise WrongConfiguration(
            f"found {len(rows)} versions, expected at most {MOST}: each takes a prediction a row, and so many are "
            "rather a learner's than the arms of a test"
        )
    return rows


def _saved(request: EvaluationRequest, rows: Mapping[str, int], stages: Stages) -> tuple[SavedLogger, ...]:
    """Return the versions that wrote so many rows each, called as ``front@12-0a1b2c3d``, each learned again."""
    archive, every = Archive.at(request.path, request.prefix), sum(rows.values())
    learned, loggers = stages("learning the loggers again"), []
    for number, (name, count) in enumerate(rows.items(), 1):
        policy = archived_policy(archive, name, lambda each: configured(request.config, each)).policy
        try:
            version = name.partition("@")[2]
            loggers.append(SavedLogger(version, policy.kind, policy.arguments, policy.dump(), count / every))
        finally:
            policy.close()
        learned(number, len(rows))
    return tuple(loggers)
