"""One partition as the archive follows it."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from archive.growing_file import GrowingFile
from records.errors import RECOVER, StateRefused
from rewards.store import DISCARD

OWN_LOG = f"point this service at its own log, {DISCARD}"


@dataclass(slots=True)
class ArchivedPartition:
    """A partition that this worker archives.

    Attributes
    ----------
    stored
        The offset after the last one that the archive holds.
    taken
        The offset after the last message in ``file``.
    seen
        The offset after the last message that there is known to be; never below ``taken`` for long.
    looked_at
        ``taken``, and where the log ended, when that was asked last.
    shorter
        At so many looks in a row the log ended before ``taken``.
    writing
        What compresses a group of ``file`` meanwhile.
    events
        What is to be acknowledged when it is stored, by offset.
    """

    topic: str
    number: int
    stored: int
    taken: int
    seen: int
    looked_at: tuple[int, int] = (-1, 0)
    shorter: int = 0
    file: GrowingFile | None = None
    writing: asyncio.Task[None] | None = None
    events: dict[int, Any] = field(default_factory=dict)


def beyond(name: tuple[str, int], taken: int, end: int) -> StateRefused:
    """Return the refusal of a log that ends before what the archive holds of it."""
    return StateRefused(
        f"archive of {name[0]}[{name[1]}]",
        f"a log that ends at offset {end}",
        f"one that reaches offset {taken}, up to which it was archived",
        f"the topic was made anew, or has lost its tail: {RECOVER}, which sets the old files aside",
    )


def made_anew(name: str, found: str, expected: str, *, with_log: bool = False) -> StateRefused:
    """Return the refusal of a topic with another id than that whose copy the archive is.

    Parameters
    ----------
    with_log
        The topic is ``versions``: the log's name has gone with it.
    """
    return StateRefused(
        f"archive of topic {name}",
        f"id {found}",
        f"id {expected}",
        f"the topic was deleted and made anew: {OWN_LOG if with_log else RECOVER}, which sets the old files aside",
    )
