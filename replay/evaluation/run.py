"""One pass over a log by any number of processes, which gives the same bits as one process that reads it alone.

The caller says what a part of the log adds up to, and on what executor: none, a thread pool, :func:`processes`, or
that of a cluster (Dask's ``Client.get_executor()``). What comes back is added in the order of the log
(:mod:`replay.evaluation.blocks`), whichever part is ready first.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from hashlib import sha256
from multiprocessing import active_children, get_context
from typing import Any, TypeVar

import numpy as np

from replay.evaluation.blocks import Addable, Blocks

Part = TypeVar("Part")
State = TypeVar("State", bound=Addable)

_PIECE_BYTES = 31 * 2**20
"""Beyond 32 MiB glibc learns nothing from it."""


def run(
    parts: Sequence[Part],
    summarise: Callable[[Part], Blocks[State]],
    *,
    executor: Executor | None = None,
    ahead: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Blocks[State]:
    """Return the sums over all parts of a log.

    Parameters
    ----------
    parts
        Small descriptions of the parts, which are sent to the workers.
    summarise
        Returns the states of a part's blocks; where the executor is of processes, both must be picklable.
    executor
        The executor; this thread if None. It is not shut down.
    ahead
        How many parts may be under way, so that no more results than these wait in memory; twice the cores of this
        machine where it is None. A cluster wants more.
    progress
        Called with the number of parts done and the number of parts.

    Raises
    ------
    Exception
        Whatever ``summarise`` raises. What has not begun by then is cancelled.

    Examples
    --------
    >>> def summarise(part: range) -> Blocks[int]:
    ...     squares = Blocks[int]()
    ...     for block in part:
    ...         squares.put(block, block**2)
    ...     return squares
    >>> run([range(3), range(3, 10)], summarise).total()
    285
    """
    report = progress or _silent
    sums: Blocks[State] = Blocks()
    if executor is None:
        for number, part in enumerate(parts, 1):
            sums = sums + _sum_up(summarise, part)
            report(number, len(parts))
        return sums
    limit = ahead or 2 * (os.cpu_count() or 1)
    waiting: set[Future[Blocks[State]]] = set()
    begun = done = 0
    try:
        while done < len(parts):
            while begun < len(parts) and len(waiting) < limit:
                waiting.add(executor.submit(_sum_up, summarise, parts[begun]))
                begun += 1
            ready, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            while ready:
                # Removed from the set, so that a result is freed as soon as it is added.
                sums = sums + ready.pop().result()
                done += 1
                report(done, len(parts))
    finally:
        for future in waiting:
            future.cancel()
    return sums


@contextmanager
def processes(count: int) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of processes that were started afresh; what they do is broken off where its caller is.

    Forked ones would inherit the locks of threads that do not live on in them: Arrow's, Polars' and BLAS' have some.
    """
    before = set(active_children())
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as executor:
        try:
            yield executor
        except BaseException:
            for child in set(active_children()) - before:
                child.kill()
            raise


def digest(state: Any) -> str:
    """Return the SHA-256, in hex, of all bits of a state of dataclasses, numbers, texts, arrays and containers.

    Raises
    ------
    TypeError
        The state contains another type.

    Examples
    --------
    >>> digest(np.zeros(2)) == digest(np.array([0.0, -0.0]))
    False
    """
    hasher = sha256()

    def feed(value: Any) -> None:
        if value is None or isinstance(value, bool | int | float | str | np.generic):
            plain = value.item() if isinstance(value, np.generic) else value
            content = (plain.hex() if isinstance(plain, float) else str(plain)).encode()
            put(type(plain).__name__, len(content))
            hasher.update(content)
        elif isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
            put(f"{value.dtype.newbyteorder('<').str}", *value.shape)
            hasher.update(np.ascontiguousarray(value).astype(value.dtype.newbyteorder("<"), copy=False).tobytes())
        elif isinstance(value, Mapping):
            put("mapping", len(value))
            for key in value:
                feed(key)
                feed(value[key])
        elif isinstance(value, tuple | list):
            put("sequence", len(value))
            for each in value:
                feed(each)
        elif is_dataclass(value):
            # A name of ours may change.
            put("record", len(fields(value)))
            for field in fields(value):
                feed(getattr(value, field.name))
        elif isinstance(value, Blocks):
            put("blocks")
            feed(value.nodes)
        else:
            raise TypeError(f"expected numbers, texts, arrays and what holds them; found a {type(value).__name__}")

    def put(kind: str, *sizes: int) -> None:
        # Lengths come before the content, so that no two states have the same bytes.
        hasher.update(f"{kind}{sizes};".encode())

    feed(state)
    return hasher.hexdigest()


def _sum_up(summarise: Callable[[Part], Blocks[State]], part: Part) -> Blocks[State]:
    # glibc hands back what is free beyond twice the largest piece that was ever freed. Without this one, which is
    # never written to, the memory of every block's columns would be fetched from the system anew: a fifth of the time.
    np.empty(_PIECE_BYTES, dtype=np.uint8)
    return summarise(part)


def _silent(done: int, of: int) -> None:
    pass
