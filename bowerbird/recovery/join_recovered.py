"""What a recovery of the join's state did."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


@dataclass(slots=True)
class JoinRecovered:
    """What a recovery of the join did, or would do.

    Attributes
    ----------
    needed
        Why the state may not be continued, a sentence each; none: it is sound.
    from_ms
        The log time from which the inputs were read again, None: they were not.
    messages
        How many messages of the inputs were to be read.
    unfinished
        How many decisions may lack an outcome.
    remembered
        How many closed event ids were remembered again.
    pending
        How many decisions wait for their deadline now.
    gone
        Inputs whose beginning is gone, a sentence each: outcomes may lack feedback.
    resumed
        Whether a recovery that had been stopped was finished.
    """

    needed: list[str] = field(default_factory=list)
    from_ms: int | None = None
    messages: int = 0
    unfinished: int = 0
    remembered: int = 0
    pending: int = 0
    gone: list[str] = field(default_factory=list)
    resumed: bool = False


def moment(time_ms: int | None) -> str:
    """Return a log time as people write it, in UTC."""
    return datetime.fromtimestamp((time_ms or 0) / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
