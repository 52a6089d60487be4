"""The front door: the command, its settings, the processes of the roles, and the demo."""

from __future__ import annotations

from bowerbird.version import __version__ as __version__

# Not even `typing` is imported here: the command imports this before it heeds Ctrl-C.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from os import PathLike
    from typing import Any


def read(
    path: str | PathLike[str],
    topic: str = "rewards",
    *,
    columns: Sequence[str] | None = None,
    prefix: str = "",
    lazy: bool = False,
) -> Any:
    """Return what an archive holds of a topic, in log order, each record once.

    Needs the extra ``bowerbird[archive]``; a lazy frame needs ``bowerbird[polars]``.

    Parameters
    ----------
    path
        The archive's folder, or its URL in an object store (what ``archive.url`` says).
    topic
        ``rewards`` (the outcomes; repeats under the same seq are left out), ``decisions``,
        ``versions`` or ``dead-letters``.
    columns
        Their names (docs/archive.md); default: all but ``key`` and ``raw``, the bytes as they came.
    prefix
        That of the service whose archive it is.
    lazy
        Whether to return a lazy frame, which reads only what a query needs.

    Returns
    -------
    pyarrow.Table or polars.LazyFrame

    Raises
    ------
    records.errors.WrongConfiguration
        There is no archive, or no such topic or column.
    records.errors.StateRefused
        A file of it is damaged.

    Examples
    --------
    ::

        outcomes = bowerbird.read("data/archive")
        print(outcomes.group_by(["policy", "policy_version"]).aggregate([("reward", "mean"), ("reward", "count")]))
    """
    from records.extras import needed_by

    with needed_by("bowerbird.read", "archive"):
        from archive.reader import read as read_archive

        return read_archive(str(path), topic, columns, prefix, lazy)


def evaluate(
    log: Any,
    target: str | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    segments: str | Sequence[str] = (),
    format: str | None = None,  # noqa: A002
    against: str | None = None,
    placement: str | None = None,
    external: bool = False,
    prefix: str = "",
    estimators: str | Sequence[str] = (),
    model: str = "auto",
    folds: str = "auto",
    fixed_loggers: bool = False,
    expected_shares: Mapping[str, float] | None = None,
    resamples: int = 0,
    seed: int = 0,
    interval: str = "auto",
    largest_weight: float | None = None,
    reward_range: tuple[float, float] | None = None,
) -> Any:
    """Estimate a policy's value from a log, and say first whether to trust it.

    The same as ``bowerbird replay evaluate`` (docs/evaluation.md). Needs the extra ``bowerbird[evaluate]``.

    Parameters
    ----------
    log
        A path, or data in memory: a table of Arrow, a frame of pandas or polars, a mapping of names to arrays,
        outcomes that :func:`read` returned, or a bandit feedback of ``obp`` with the target's ``action_dist``.
    target
        Which policy. Data in memory holds the target's probabilities itself; then this is its name in the result.
    columns
        Of a table: which column is which field (docs/logs.md). A bandit feedback has none, and no segments.
    segments
        What to cut the log into.
    against
        Another policy to compare with, on the same rows. Data in memory holds its probabilities in the column
        ``against`` or ``against_pmf`` of ``columns``, or as ``against_dist``; then this is its name in the result.
    format, prefix
        Of a log at a path.
    placement, external
        Of a log at a path, or of outcomes that :func:`read` returned.
    estimators, model, folds, fixed_loggers, expected_shares, resamples, seed, interval, largest_weight, reward_range
        See :class:`replay.evaluation.evaluate.Options`.

    Returns
    -------
    replay.evaluation.answer.Answer
        With ``verdict``, ``estimates``, ``difference``, ``health``, …; ``.frame()`` is a frame of the estimates,
        ``.plot()`` a picture of them, and a notebook shows the report.

    Raises
    ------
    records.errors.BadInput
        The log is damaged, or no row of it can be judged.
    records.errors.WrongConfiguration
        There is no such log, target, estimator, interval or model, or they do not go together.

    Examples
    --------
    >>> found = evaluate({"reward": [1, 0] * 500, "propensity": [0.5] * 1000, "target": [0.5] * 1000})
    >>> found.verdict.level, found.ips
    ('reliable', 0.5)
    """
    from bowerbird.commands.shared import stages
    from records.errors import WrongConfiguration, shorten
    from records.extras import needed_by

    with needed_by("bowerbird.evaluate", "evaluate"):
        from bowerbird.evaluating import evaluated, evaluated_in_memory
        from bowerbird.judged_log import EvaluationRequest
        from replay.evaluation.evaluate import Options
        from replay.evaluation.logs.outcome_frames import table_of_outcomes

    segments = (segments,) if isinstance(segments, str) else segments
    options = Options(
        estimators=(estimators,) if isinstance(estimators, str) else tuple(estimators),
        model=model,
        folds=folds,
        resamples=resamples,
        seed=seed,
        interval=interval,
        largest_weight=largest_weight,
        reward_range=reward_range,
        fixed_loggers=fixed_loggers,
        expected_shares=expected_shares or {},
    )
    if not isinstance(log, str) and not hasattr(log, "__fspath__"):
        for name, given in (("format", format), ("prefix", prefix)):
            if given:
                raise WrongConfiguration(f"{name}: found {shorten(str(given))} with data in memory, expected none")
        log = table_of_outcomes(log, placement, external)
        with stages() as progress:
            return evaluated_in_memory(log, columns or {}, segments, target, against, options, progress)
    request = EvaluationRequest(
        path=str(log),
        format=format,
        target=target,
        against=against,
        placement=placement,
        external=external,
        prefix=prefix,
        columns=columns,
        segments=segments,
    )
    with stages() as progress:
        return evaluated(request, options, "bowerbird.evaluate(...)", progress)
