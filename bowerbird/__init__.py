"""The front door: the command, its settings, the processes of the roles, and the demo."""

from __future__ import annotations

from bowerbird.version import __version__ as __version__

# Not even `typing` is imported here: the command imports this before it heeds Ctrl-C.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from os import PathLike
    from typing import Any

    from bowerbird.library import evaluate as evaluate


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


def __getattr__(name: str) -> object:
    if name != "evaluate":
        raise AttributeError(f"module 'bowerbird' has no attribute {name!r}")
    from bowerbird.library import evaluate

    return evaluate


def __dir__() -> list[str]:
    return sorted({*globals(), "evaluate"})
