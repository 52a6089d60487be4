"""Event ids that sort by the time at which they were made."""

import time
from collections.abc import Callable
from secrets import randbits
from uuid import UUID

COUNTER_BITS = 12
SEED_BITS = COUNTER_BITS - 1
"""A counter begins below half of its range, so that it has room to count."""


class EventIds:
    """Makes UUIDs of version 7, each greater than the one before.

    RFC 9562, section 5.7: 48 bits of Unix time in milliseconds, the version, 12 bits that are a counter here
    (section 6.2, method 1), the variant, 62 random bits.

    Parameters
    ----------
    now_ms
        Unix time in milliseconds; it may stand still or go back.
    random_bits
        Random numbers of so many bits.

    Examples
    --------
    >>> ids = EventIds(now_ms=lambda: 1645557742000, random_bits=lambda bits: 1)
    >>> ids.mint()
    '017f22e2-79b0-7001-8000-000000000001'
    >>> ids.mint()
    '017f22e2-79b0-7002-8000-000000000001'
    """

    def __init__(
        self,
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        random_bits: Callable[[int], int] = randbits,
    ) -> None:
        self._now_ms, self._random_bits = now_ms, random_bits
        self._time_ms = -1
        self._counter = 0

    def mint(self) -> str:
        """Return the next id, as text that sorts as the ids do."""
        now_ms = self._now_ms()
        self._counter += 1
        if now_ms > self._time_ms or self._counter >= 1 << COUNTER_BITS:
            # A counter that is full borrows the next millisecond.
            self._time_ms = max(now_ms, self._time_ms + 1)
            self._counter = self._random_bits(SEED_BITS)
        version, variant = 0x7 << 76, 0b10 << 62
        return str(UUID(int=self._time_ms << 80 | version | self._counter << 64 | variant | self._random_bits(62)))
