"""Logs that do not reach what is to be read: a topic was made anew, has lost its tail, or retention went on."""

from collections.abc import Mapping

from records.errors import RECOVER, LossDetected

LOOKS = 3
"""At so many looks in a row a log must end before what was read of it, until that is taken for a loss."""


class ShorterLogs:
    """Finds such logs. A new leader of a partition may know its end a moment late, so one look proves nothing."""

    def __init__(self) -> None:
        self._looks: dict[tuple[str, int], int] = {}

    def look(self, read: Mapping[tuple[str, int], int], ends: Mapping[tuple[str, int], int]) -> list[tuple[str, int]]:
        """Return the logs that end before what was read of them, now and at the looks before."""
        self._looks = {name: self._looks.get(name, 0) + 1 for name, end in ends.items() if end < read[name]}
        return [name for name, looks in self._looks.items() if looks >= LOOKS]


def ends_before(where: tuple[str, int], read: int, end: int) -> LossDetected:
    """Return the refusal to go on from an offset that a log does not reach.

    >>> str(ends_before(("clicks", 0), 7, 3)).split(",")[0]
    'clicks[0]: found a log that ends at offset 3'
    """
    return LossDetected(
        f"{where[0]}[{where[1]}]",
        f"a log that ends at offset {end}",
        f"one that reaches offset {read}, up to which it was read",
        f"the topic was made anew, or has lost its tail: {RECOVER}",
    )


def starts_after(where: tuple[str, int], offset: int, begins: int) -> LossDetected:
    """Return the refusal to read from an offset that a log does not hold any more.

    >>> str(starts_after(("clicks", 0), 3, 7)).split(";")[0]
    "clicks[0]: found the log's start at offset 7, expected offset 3"
    """
    return LossDetected(
        f"{where[0]}[{where[1]}]",
        f"the log's start at offset {begins}",
        f"offset {offset}",
        "retention has removed it; run the command again, or `bowerbird recover` where a role says this",
    )
