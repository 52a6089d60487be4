"""One row of the table of benchmarks, and the CPU that others used while it was measured."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

import psutil


@dataclass(frozen=True, slots=True)
class Row:
    """What one benchmark measured.

    Attributes
    ----------
    path, peer
        What was measured, and against what.
    bar
        What it had to reach, as text; "report" without a bar.
    measured
        The figures of all repeats, as text with units; the median first.
    met
        Whether the median reached the bar; None without a bar.
    bound
        What bounds it.
    others_cpu
        Cores that other processes used meanwhile (median over the repeats).
    """

    path: str
    peer: str
    bar: str
    measured: str
    met: bool | None
    bound: str
    others_cpu: float


@dataclass(slots=True)
class Others:
    """Cores that processes other than the measured ones used, one figure per measurement."""

    cores: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The median, in cores."""
        return median(self.cores) if self.cores else 0.0

    @contextmanager
    def measured(self, pids: Sequence[int] = ()) -> Iterator[None]:
        """Count what is used while the block runs by others than this process, its children and ``pids``."""
        began, used = time.monotonic(), _used()
        ours = _used_by(pids)
        yield
        seconds = time.monotonic() - began
        self.cores.append(max(0.0, (_used() - used) - (_used_by(pids) - ours)) / seconds)


def _used() -> float:
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0))


def _used_by(pids: Sequence[int]) -> float:
    me = psutil.Process(os.getpid())
    known = {process.pid: process for process in (me, *me.children(recursive=True))}
    for pid in pids:
        known.setdefault(pid, psutil.Process(pid))
    total = 0.0
    for process in known.values():
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
        if process.pid == me.pid:
            total += times.children_user + times.children_system
    return total


def spread(values: Sequence[float], digits: int = 2) -> str:
    """Return "median (min to max of n)".

    >>> spread([1.0, 3.0, 2.0])
    '2.00 (1.00 to 3.00 of 3)'
    """
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f} of {len(values)})"
