"""Watermarks: up to which log time input has been applied. They are the clock by which windows close.

The watermark of a shard is the minimum over *every* partition of every input: all that was appended to any input
before it has been applied. Downtime stops it, so downtime is never taken for a "no".
"""

from collections.abc import Iterable, Mapping

INPUTS = "*"
"""The watermark of the list of inputs itself: a partition added after it cannot have been missed before it."""


def partition_name(topic: str, partition: int) -> str:
    """Return how an input partition is called among a shard's watermarks.

    >>> partition_name("clicks", 2)
    'clicks 2'
    """
    return f"{topic} {partition}"


def shard_watermark(watermarks: Mapping[str, int]) -> tuple[int, str]:
    """Return the lowest watermark of the inputs, in ms, and the input that holds it back.

    A partition without a watermark stands at 0, and so does a shard that has no list of its inputs yet.

    >>> shard_watermark({"*": 90, "clicks 0": 70, "decisions 0": 80})
    (70, 'clicks 0')
    >>> shard_watermark({"clicks 0": 70})
    (0, '*')
    """
    if INPUTS not in watermarks:
        return 0, INPUTS
    held_by = min(watermarks, key=lambda name: (watermarks[name], name))
    return watermarks[held_by], held_by


def input_watermark(time_ms: int, grace_ms: int) -> int:
    """Return the watermark that a record applied, or an idle tick, of this log time allows.

    The grace covers the differing clocks of brokers and leaders, and what is not yet replicated.
    """
    return max(0, time_ms - grace_ms)


def hold_line(watermark_ms: Iterable[int], dedup_horizon_ms: int) -> int:
    """Return the log time beyond which a record must wait before it is applied.

    A partition may not run ahead of the others by more than half the time for which closed event ids are
    remembered. So a reused event id never meets its predecessor while that still pends, and a join that catches up
    holds a bounded part of the log in its store.
    """
    return min(watermark_ms, default=0) + dedup_horizon_ms // 2
