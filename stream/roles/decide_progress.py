"""How far decide is in one partition."""

import asyncio
from collections import deque


class PartitionProgress:
    """The batches of one partition in their order; the end of the finished head may be committed.

    ``next_offset`` is where the log goes on, None: nothing was ever committed.
    """

    def __init__(self, next_offset: int | None) -> None:
        self.next_offset = next_offset
        self._batches: deque[tuple[int, asyncio.Task[None]]] = deque()
        self.committable: int | None = None
        self.paused = False

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def tasks(self) -> list[asyncio.Task[None]]:
        """The batches that are not finished."""
        return [task for _, task in self._batches]

    def add(self, next_offset: int, task: asyncio.Task[None]) -> None:
        """Add a batch that reaches up to an offset."""
        self._batches.append((next_offset, task))

    def trim(self) -> None:
        """Move over the batches that are done."""
        while self._batches and self._batches[0][1].done():
            next_offset, task = self._batches.popleft()
            # Raises what the task raised: then nothing may be committed, and the loop starts again.
            task.result()
            self.committable = next_offset
