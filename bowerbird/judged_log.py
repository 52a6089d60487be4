"""Open a log by its path, for a target policy or without one."""

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bowerbird.evaluation_request import EvaluationRequest, LogRequest
from bowerbird.settings import WrongSettings, find_file, load, service_at
from records.errors import WrongConfiguration
from replay.evaluation.logs.formats import Format

if TYPE_CHECKING:
    from policies.policy_store import PolicyIdentity
    from replay.evaluation.logs.chunk import Log, Progress
    from replay.evaluation.logs.columns import Columns
    from replay.evaluation.logs.numbered import Names
    from replay.evaluation.logs.outcome_source import Outcomes
    from replay.evaluation.logs.predicted import Logger
    from replay.evaluation.rows import Floats
    from replay.evaluation.scan import Against, OpenLog

UNIFORM = "uniform"
OF_THE_TABLE, OTHER_OF_THE_TABLE = "target", "against"
"""Default names of a table's target and of the policy that it is compared with."""
OF_OTHER = {"against": "target", "against_pmf": "target_pmf"}
"""Columns of a table with the probabilities of the compared policy, and the field of the target that each replaces."""


def judged_log(request: EvaluationRequest) -> "tuple[str, OpenLog]":
    """Return the name of the target and a function that opens the log for each pass.

    Raises
    ------
    WrongConfiguration
        The log, the target or an option does not exist, or they cannot be combined.
    StateRefused, BadInput
        The log is damaged.
    """
    kind = _checked(request)
    if kind is Format.TABLE:
        columns, _ = table_columns(request.columns or {}, request.segments)
        columns = replace(columns, uniform=request.target == UNIFORM)
        return target_of_table(request.target), _Table(request.path, columns)
    if request.target is None:
        if kind is Format.JSON_LINES:
            from replay.evaluation.logs.json_outcomes import JsonLines

            JsonLines(Path(request.path)).check_kind()
        raise WrongConfiguration(f"--target: found none, expected the policy to judge, as {UNIFORM}")
    if kind is Format.OPEN_BANDIT:
        from replay.evaluation.logs.judge_open_bandit import read_target

        target = None if request.target == UNIFORM else read_target(Path(request.target))
        return request.target, _OpenBandit(request.path, target, tuple(request.segments))
    opened = _outcomes(request, kind, request.target)
    return opened.name, opened


def target_of_table(given: str | None) -> str:
    """Return the name of the target of a log that contains the target's probabilities.

    Raises
    ------
    WrongConfiguration
        The name is that of a policy that would have to be computed.
    """
    if given is not None and given.endswith(".npy"):
        expected = "a name for the policy of the column target (or target_pmf, action_dist): it is not computed"
        raise WrongConfiguration(f"--target: found {given}, expected {expected}")
    return given or OF_THE_TABLE


def needs_target(log: str) -> WrongConfiguration:
    """Return the error for a log without the target's probabilities."""
    return WrongConfiguration(
        f"--target: found no column target, target_pmf or weight in {log}, expected one: name it with --column "
        "target=..., in Python columns={'target': ...}; a bandit feedback has action_dist"
    )


def log_as_it_is(request: LogRequest, progress: "Progress") -> "Log":
    """Return the log without a target, as ``log describe`` reads it.

    Raises
    ------
    WrongConfiguration, StateRefused, BadInput
        As :func:`judged_log`.
    """
    kind = _checked(request)
    if kind is Format.TABLE:
        from replay.evaluation.logs.table_files import table_log

        return table_log(Path(request.path), table_columns(request.columns or {}, request.segments)[0], progress)
    if kind is Format.OPEN_BANDIT:
        from replay.evaluation.logs.judge_open_bandit import OpenBanditLog
        from replay.evaluation.logs.open_bandit_columns import log_at

        return OpenBanditLog(log_at(Path(request.path)), itself=True, segments=request.segments)
    from replay.evaluation.logs.outcomes import Judge

    outcomes, of, segments = _read(request, kind, progress), request.placement, request.segments
    # A log with missing outcomes is described, too: their number is part of the description.
    return Judge(outcomes, None, of, external=None, mixed=of is None, segments=segments, count_missing=True)


def _checked(request: LogRequest) -> Format:
    """Return the format of the log; raise if the options do not apply to it."""
    kind, external = request.kind, isinstance(request, EvaluationRequest) and request.external
    if request.columns and kind is not Format.TABLE:
        raise WrongConfiguration(f"--column: expected none with --format {kind}, whose fields have their names")
    if kind in (Format.TABLE, Format.OPEN_BANDIT) and (request.placement is not None or external):
        name = "--external" if request.placement is None else "--placement"
        raise WrongConfiguration(f"{name}: expected none with --format {kind}")
    if request.prefix and kind is not Format.BOWERBIRD:
        raise WrongConfiguration(f"--prefix: expected none with --format {kind}")
    return kind


def _read(request: LogRequest, kind: Format, progress: "Progress") -> "Outcomes":
    if kind is Format.BOWERBIRD:
        from archive.reader import Archive
        from replay.evaluation.logs.archive import ArchivedOutcomes

        return ArchivedOutcomes(Archive.at(request.path, request.prefix))
    if kind is Format.JSON_LINES:
        from replay.evaluation.logs.json_outcomes import JsonLines

        return JsonLines(Path(request.path))
    from bowerbird.live_log import live_outcomes
    from replay.evaluation.logs.message_outcomes import MessageOutcomes

    return MessageOutcomes(live_outcomes(load(service_at(request.path)), progress))


def compared_log(request: EvaluationRequest, judged_on: str | None) -> "Against | None":
    """Return the policy to compare with and how to open the log for it; None: the logging policy.

    Parameters
    ----------
    request
        The log and the policies.
    judged_on
        The placement whose outcomes are used; the same for the target and the compared policy.

    Raises
    ------
    WrongConfiguration, StateRefused, BadInput
        As :func:`judged_log`.
    """
    from replay.evaluation.scan import Against

    if request.kind is not Format.TABLE:
        if request.against is None:
            return None
        return Against(*judged_log(replace(request, target=request.against, placement=request.placement or judged_on)))
    columns, others = table_columns(request.columns or {}, request.segments)
    if request.against == UNIFORM:
        others = replace(columns.for_other(), uniform=True)
    if others is not None:
        return Against(request.against or OTHER_OF_THE_TABLE, _Table(request.path, others))
    if request.against is not None:
        raise WrongConfiguration(
            f"--against: found {request.against} and no column of its probabilities, expected --column against=..."
        )
    return None


def table_columns(given: Mapping[str, str], segments: Collection[str]) -> "tuple[Columns, Columns | None]":
    """Return the columns of a table for the target, and those for the compared policy, if there are any.

    Raises
    ------
    WrongConfiguration
        There is no such field.
    """
    from replay.evaluation.logs.columns import IGNORED, Columns

    fields = [*Columns.fields(), *OF_OTHER]
    if unknown := [name for name in given if name not in fields]:
        raise WrongConfiguration(f"--column: found {unknown[0]}, expected a field: one of {', '.join(fields)}")
    of_target: dict[str, Any] = {name: column for name, column in given.items() if name not in OF_OTHER}
    columns = replace(Columns(segments=tuple(segments)), **of_target)
    named = {name: column for name, column in given.items() if column not in ("", IGNORED)}
    of_other = {field: named[name] for name, field in OF_OTHER.items() if name in named}
    return columns, columns.for_other(**of_other) if of_other else None


@dataclass(frozen=True, slots=True)
class _Table:
    """Open a table; as all of these it can be pickled for other processes."""

    path: str
    columns: "Columns"

    def __call__(self, wanted: Collection[str], for_target: bool, names: "Names | None" = None) -> "Log":
        from replay.evaluation.logs.table_files import table_log

        log = table_log(Path(self.path), self.columns, names=names)
        if not log.has_target:
            raise needs_target(Path(self.path).name)
        return log


@dataclass(frozen=True, slots=True)
class _OpenBandit:
    path: str
    target: "Floats | None"
    segments: tuple[str, ...]

    def __call__(self, wanted: Collection[str], for_target: bool, names: "Names | None" = None) -> "Log":
        from replay.evaluation.logs.entries import WITHOUT_CONTEXTS
        from replay.evaluation.logs.judge_open_bandit import OpenBanditLog
        from replay.evaluation.logs.open_bandit_columns import log_at

        entries = WITHOUT_CONTEXTS in wanted
        return OpenBanditLog(log_at(Path(self.path)), self.target, segments=self.segments, entries=entries, names=names)


@dataclass(frozen=True, slots=True)
class SavedLogger:
    """The saved model of a version that wrote a log, and its share of the rows."""

    version: str
    kind: str
    arguments: str
    model: bytes
    share: float

    def made(self) -> "Logger":
        """Load the policy."""
        from policies.registry import make
        from replay.evaluation.logs.predicted import Logger

        return Logger(self.version, make(self.kind, self.arguments, self.model), self.share)


@dataclass(frozen=True, slots=True)
class OutcomesOf:
    """Open outcomes of the loop; each process loads the policy from its bytes."""

    request: EvaluationRequest
    kind: Format
    name: str
    policy_kind: str
    arguments: str
    model: bytes
    learned_from: tuple[str, ...]
    cut: int
    loggers: "tuple[SavedLogger, ...]" = ()

    @property
    def judged_on(self) -> str | None:
        """The placement whose outcomes are used; None: the only one in the log."""
        if self.request.placement is None and len(self.learned_from) == 1:
            return self.learned_from[0]
        return self.request.placement

    def __call__(self, wanted: Collection[str], for_target: bool, names: "Names | None" = None) -> "Log":
        """Return the log: see :class:`replay.evaluation.scan.OpenLog`."""
        from policies.registry import make
        from replay.evaluation.logs.chunk import MEAN_PROPENSITY, silent
        from replay.evaluation.logs.outcomes import Judge
        from replay.proof.archived_policy import ArchivedPolicy

        request, target = self.request, None
        if for_target:
            policy = make(self.policy_kind, self.arguments, self.model)
            target = ArchivedPolicy(self.name, policy, self.learned_from, self.cut)
        of, segments = self.judged_on, request.segments
        loggers = [each.made() for each in self.loggers] if MEAN_PROPENSITY in wanted else ()
        outcomes = _read(request, self.kind, silent)
        return Judge(
            outcomes, target, of, request.external, wanted=wanted, segments=segments, names=names, loggers=loggers
        )


def _outcomes(request: EvaluationRequest, kind: Format, target: str) -> OutcomesOf:
    from archive.reader import Archive
    from replay.proof.archived_policy import archived_policy, uniform

    if target.endswith(".npy"):
        raise WrongConfiguration(
            f"--target: found {target}, expected a policy: an array has no contexts; try open-bandit"
        )
    if target == UNIFORM:
        archived = uniform()
    elif kind is Format.BOWERBIRD:
        archive = Archive.at(request.path, request.prefix)
        archived = archived_policy(archive, target, lambda name: configured(request.config, name))
    else:
        archived = _version_0(target, service_at(request.path) if kind is Format.KAFKA else request.config, kind)
    policy = archived.policy
    try:
        saved = (policy.kind, policy.arguments, policy.dump(), archived.learned_from, archived.cut)
        return OutcomesOf(request, kind, archived.name, *saved)
    finally:
        policy.close()


def _version_0(target: str, config: Path | None, kind: Format) -> Any:
    from policies.registry import make
    from replay.proof.archived_policy import ArchivedPolicy

    name, _, version = target.partition("@")
    given = configured(config, name)
    if given is None or version not in ("", "0"):
        raise WrongConfiguration(
            f"--target: found {target}, expected {UNIFORM}, or a policy of bowerbird.toml as it is before it learns: "
            f"published versions are computed from an archive, not from {kind}"
        )
    return ArchivedPolicy(f"{name}@0", make(given.kind, given.arguments))


def configured(file: Path | None, name: str) -> "PolicyIdentity | None":
    """Return a policy of the settings; None if they have no policy of this name."""
    from stream.config import identity_in

    try:
        config = load(file)
    except WrongSettings:
        # Without a settings file the policy is unknown, which the caller reports.
        if find_file(file, os.environ) is not None:
            raise
        return None
    return identity_in(config, name) if name in config.policies else None
