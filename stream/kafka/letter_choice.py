"""Which dead letters are meant, and how they are sent again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from records.described import Described


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

    names: Annotated[
        Sequence[str], Described("Single ones, as `show` names them: 1@34.", "[LETTER]...", argument=True)
    ] = ()
    reason: Annotated[str | None, Described("Only those with this reason.", "CODE")] = None
    topic: Annotated[str | None, Described("Only those from this topic (without the prefix).", "NAME")] = None

    @property
    def by_name(self) -> bool:
        """Whether the letters are named one by one, or by their reason."""
        return bool(self.names) or self.reason is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResendOptions:
    """How letters are sent again; see the text of each option.

    With ``dry_run`` each place is where the letter stood.
    """

    requests: Annotated[
        bool, Described("Send requests, too: they are decided and learned, though nobody waits for the answer.")
    ] = False
    returned: Annotated[bool, Described("Send, too, what came back after it was sent again.")] = False
    dry_run: Annotated[bool, Described("Only tell what would be sent.")] = False
