"""Who else might have decided: of an archive, every version that wrote it, computed again, for balanced weights."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from archive.reader import Archive
from bowerbird.evaluation_request import EvaluationRequest
from bowerbird.judged_log import OutcomesOf, SavedLogger, configured
from records.errors import StateRefused, WrongConfiguration
from records.fields import EXTERNAL
from replay.evaluation.logs.entries import WITH_CONTEXTS
from replay.evaluation.logs.formats import Format
from replay.evaluation.scan import Against, OpenLog, Stages
from replay.proof.archived_policy import archived_policy

MOST = 16
"""Each takes a prediction a row. A log of more versions is a learner's, over which balanced weights are biased."""
NO_COLUMN = (
    "found no column mean_propensity, expected the average over all loggers, by their shares of the rows, of the "
    "probability of the logged action (docs/logs.md)"
)


class Opened(NamedTuple):
    """A log and what the target is compared with, opened so that they tell of all loggers; or what they lack."""

    open_log: OpenLog
    against: Against | None
    lacks: str


def with_all_loggers(request: EvaluationRequest, open_log: OpenLog, against: Against | None, stages: Stages) -> Opened:
    """Let an archive tell what all versions that wrote it would have done; a table tells it itself, if it does.

    Raises
    ------
    StateRefused, BadInput
        The log is damaged.
    """
    if not isinstance(open_log, OutcomesOf) or request.kind is not Format.BOWERBIRD:
        expected = "expected an archive, whose versions are computed again"
        return Opened(
            open_log, against, NO_COLUMN if request.kind is Format.TABLE else f"found {request.kind}, {expected}"
        )
    rows = _rows_by_version(open_log, stages)
    try:
        loggers = _saved(request, _checked(rows), stages)
    except (WrongConfiguration, StateRefused) as error:
        return Opened(open_log, against, str(error).removeprefix("--target: "))
    if against is not None:
        assert isinstance(against.open_log, OutcomesOf)
        against = against._replace(open_log=replace(against.open_log, loggers=loggers))
    return Opened(replace(open_log, loggers=loggers), against, "")


def _rows_by_version(open_log: OutcomesOf, stages: Stages) -> dict[str, int]:
    """Return of each version how many rows it wrote, of those that the target can be judged on."""
    # With contexts, so that what nobody can be asked about is left out here as it will be then.
    log, counts = open_log({"version", WITH_CONTEXTS}, True), Counter[int]()
    for chunk in log.blocks(stages("counting")):
        assert chunk.rows.version is not None
        counts.update(dict(enumerate(np.bincount(chunk.rows.version).tolist())))
    names = log.names.versions.names
    return {names[number]: count for number, count in sorted(counts.items()) if count}


def _checked(rows: Mapping[str, int]) -> Mapping[str, int]:
    if not rows:
        raise WrongConfiguration("found no row, expected a decision that can be judged")
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
