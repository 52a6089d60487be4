"""The roles of a service, each declared once: what it reads, and at which port it answers."""

from typing import NamedTuple


class Role(NamedTuple):
    """A role: one consumer group, one process, and a module of :mod:`stream.roles` of its name.

    Attributes
    ----------
    port
        What is added to the setting ``metrics_port``.
    reads
        The topics of the loop that it reads.
    reads_streams
        Whether it also reads the feedback streams.
    held
        Whether ``bowerbird status`` shows an open transaction in what it reads. For the join, its watermarks do.
    optional
        Whether a service may do without it.
    """

    name: str
    port: int
    reads: tuple[str, ...]
    reads_streams: bool = False
    held: bool = False
    optional: bool = False


DECIDE = "decide"
JOIN = "join"
LEARN = "learn"
ARCHIVE = "archive"

DECLARED = {
    role.name: role
    for role in (
        Role(DECIDE, 0, reads=("decision-requests",), held=True),
        Role(JOIN, 1, reads=("decisions",), reads_streams=True),
        Role(LEARN, 2, reads=("rewards",), held=True),
        Role(ARCHIVE, 3, reads=("decisions", "rewards", "versions", "dead-letters"), optional=True),
    )
}
ROLES = tuple(DECLARED)
LOOP_ROLES = tuple(role.name for role in DECLARED.values() if not role.optional)
"""What the loop consists of."""
SUPERVISOR_PORT = 1 + max(role.port for role in DECLARED.values())
"""What is added to ``metrics_port`` for the process that keeps the roles running."""

HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""What a role's process finds in its environment. With huge pages, where the kernel grants them, a large model loads
several times faster: see benchmarks/load.py."""
