"""Which dead letters are meant, and how they are sent again."""

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterChoice:
    """Which dead letters are meant; what is not given matches every letter.

    Attributes
    ----------
    names
        As :attr:`stream.kafka.dead_letter_log.Letter.name`.
    reason
        Why they could not be used.
    topic
        The topic from which they came, without the prefix.
    """

    names: Collection[str] = ()
    reason: str | None = None
    topic: str | None = None

    @property
    def by_name(self) -> bool:
        """Whether the letters are named one by one, or by their reason."""
        return bool(self.names) or self.reason is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendOptions:
    """How letters are sent again.

    Attributes
    ----------
    requests
        Send decision requests, too: they are decided, and learned, although nobody waits for the answer.
    returned
        Send, too, what became a dead letter once more after it was sent again.
    dry_run
        Send nothing, and return as sent what would be; each place is where it stood.
    """

    requests: bool = False
    returned: bool = False
    dry_run: bool = False
