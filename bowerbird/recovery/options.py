"""What a recovery may do."""

from dataclasses import dataclass
from typing import Annotated

from records.described import Described


@dataclass(frozen=True, slots=True)
class RecoverOptions:
    """What a recovery may do; see the text of each option."""

    dry_run: Annotated[bool, Described("Change nothing; say what would be done.")] = False
    force: Annotated[bool, Described("Rebuild the join's state even if it is sound.")] = False
    accept_loss: Annotated[bool, Described("Go on without messages that are gone for good.")] = False
    discard_other_log: Annotated[bool, Described("Throw away what Redis holds of a log that is gone.")] = False


CAREFUL = RecoverOptions()
"""Repair what needs it, and lose nothing."""
