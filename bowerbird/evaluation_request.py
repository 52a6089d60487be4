"""What an evaluation is asked for: the log, the policies and the options, each defined once.

The options of ``bowerbird replay evaluate`` and ``bowerbird log describe``, and the keywords of
:func:`bowerbird.evaluate`, are made from these records (:mod:`bowerbird.option_records`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any

from records.described import Described
from records.errors import WrongConfiguration
from replay.evaluation.logs.formats import Format, format_of
from replay.evaluation.option_values import check_options
from replay.evaluation.options import Options


@dataclass(frozen=True)
class LogRequest:
    """A log, and how to read it; see the text of each option."""

    log: Annotated[
        Any,
        Described(
            "The path of an archive, a file or its folder; bowerbird.toml for the log in Kafka.",
            "PATH",
            in_python="Or data in memory: a table of Arrow, a frame of pandas or polars, a mapping of names to arrays, "
            "outcomes that bowerbird.read returned, or a bandit feedback of obp with the target's action_dist.",
        ),
    ]
    _: KW_ONLY
    format: Annotated[
        str | None, Described("Format of a log at a path; by default it follows from the path.", "|".join(Format))
    ] = None
    placement: Annotated[
        str | None,
        Described("Use only the outcomes of this placement; for a policy by default the one it learns from.", "NAME"),
    ] = None
    prefix: Annotated[str, Described("The prefix of the service whose archive it is.", "NAME")] = ""
    columns: Annotated[
        Mapping[str, str] | None,
        Described(
            "Of a table: the column of each field, such as reward, propensity, target (docs/logs.md).",
            "FIELD=COLUMN",
            each="column",
            in_python="A bandit feedback of obp has none, and no segments.",
        ),
    ] = None
    segments: Annotated[
        Sequence[str],
        Described("Show each segment too: day, chosen, context.user.country, …", "NAME", each="segment"),
    ] = ()

    def __post_init__(self) -> None:
        check_options(self)

    @property
    def in_memory(self) -> bool:
        """Whether the log is data in memory instead of a path."""
        return not isinstance(self.log, str) and not hasattr(self.log, "__fspath__")

    @property
    def path(self) -> str:
        """The path of the log."""
        return str(self.log)

    @property
    def kind(self) -> Format:
        """The format of a log at a path."""
        if self.format is not None and self.format not in tuple(Format):
            raise WrongConfiguration(f"--format: found {self.format}, expected one of {', '.join(Format)}")
        return format_of(self.path) if self.format is None else Format(self.format)


@dataclass(frozen=True)
class EvaluationRequest(Options, LogRequest):
    """A log, the policies to evaluate on it, and how to evaluate them; see the text of each option."""

    target: Annotated[
        str | None,
        Described(
            "The policy to evaluate: front, front@12, uniform; for open-bandit uniform or an array (actions, "
            "positions). A table and data in memory contain its probabilities; then this is its name in the result.",
            "POLICY|uniform|FILE.npy",
        ),
    ] = None
    _: KW_ONLY
    against: Annotated[
        str | None,
        Described(
            "Compare with this policy on the same rows, by default with the logging policy. A table contains its "
            "probabilities in the column of the field against or against_pmf, a bandit feedback in against_dist.",
            "POLICY",
        ),
    ] = None
    external: Annotated[bool, Described("Evaluate on the decisions of another system instead of ours.")] = False
    config: Annotated[
        Path | None, Described("The settings file; by default $BOWERBIRD_CONFIG or bowerbird.toml.", "FILE")
    ] = None
