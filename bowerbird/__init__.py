"""The front door: the command, its settings, the processes of the roles, and the demo."""

from collections.abc import Sequence
from typing import Any

__version__ = "0.1.0"


def read(
    path: str, topic: str = "rewards", *, columns: Sequence[str] | None = None, prefix: str = "", lazy: bool = False
) -> Any:
    """Return what an archive holds of a topic, in log order, each record once.

    Needs the extra ``bowerbird[archive]``; a lazy frame needs polars.

    Parameters
    ----------
    path
        The archive's folder, or its URL in an object store (what ``archive.url`` says).
    topic
        ``rewards`` (the outcomes; those that stand in the log again under the same seq are left out), ``decisions``,
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
    policies.errors.WrongConfiguration
        There is no archive, or no such topic or column.
    policies.errors.StateRefused
        A file of it is damaged.

    Examples
    --------
    ::

        outcomes = bowerbird.read("archive/")
        print(outcomes.group_by(["policy", "policy_version"]).aggregate([("reward", "mean"), ("reward", "count")]))
    """
    from replay.archive import read as read_archive

    return read_archive(path, topic, columns, prefix, lazy)
