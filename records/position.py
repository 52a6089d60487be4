"""Where in the logs a record stands."""

import msgspec

from records.fields import Integer, Natural, Ordinal


class LogPosition(msgspec.Struct, frozen=True, order=True):
    """Where in the logs a record stands; "first" means first by position.

    Attributes
    ----------
    time_ms
        Its log time: of an item of an array, that of its message.
    topic, partition, offset
        Its message.
    index
        Its number in the array, from 0.
    """

    time_ms: Integer
    topic: str
    partition: Ordinal
    offset: Natural
    index: Ordinal

    def key(self) -> str:
        """Return text that sorts, byte by byte, as the positions do.

        >>> LogPosition(1, "clicks", 2, 3, 4).key()
        '00000000000001 clicks 000002 0000000000000003 000004'
        """
        return f"{self.time_ms:014d} {self.topic} {self.partition:06d} {self.offset:016d} {self.index:06d}"

    @classmethod
    def parse(cls, key: str) -> "LogPosition":
        """Return the position that :meth:`key` wrote."""
        time_ms, topic, partition, offset, index = key.split(" ")
        return cls(int(time_ms), topic, int(partition), int(offset), int(index))
