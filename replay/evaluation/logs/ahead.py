"""Doing the next things while the last one is being used; what is done is mostly outside of Python, so threads do."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def ahead(make: Callable[[Given], Made], given: Iterable[Given], workers: int) -> Iterator[Made]:
    """Yield what is made of each, in order, while so many of the next ones are being made.

    >>> list(ahead(abs, [1, -2, 3], workers=2))
    [1, 2, 3]
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[Made]] = deque()
        for each in given:
            waiting.append(pool.submit(make, each))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def read_ahead(given: Iterator[Made]) -> Iterator[Made]:
    """Yield what an iterator yields, whose next one is being fetched meanwhile.

    >>> list(read_ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    nothing = object()
    with ThreadPoolExecutor(1) as pool:
        coming: Future[Made | object] = pool.submit(next, given, nothing)
        while (found := coming.result()) is not nothing:
            coming = pool.submit(next, given, nothing)
            yield found  # type: ignore[misc]
