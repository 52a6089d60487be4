"""Long pure work lets the event loop turn now and then."""

import asyncio
from time import perf_counter

TURN_S = 0.05
"""Others wait at most about so long."""


class Turn:
    """Counts how long the loop has not turned: a small batch may hold very many requests."""

    def __init__(self) -> None:
        self._since = perf_counter()

    async def over(self) -> None:
        """Let others run if they have waited for too long."""
        if perf_counter() - self._since >= TURN_S:
            await asyncio.sleep(0)
            self._since = perf_counter()
