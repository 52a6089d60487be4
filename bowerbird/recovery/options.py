"""What a recovery may do."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RecoverOptions:
    """What a recovery may do.

    Attributes
    ----------
    dry_run
        Change nothing.
    force
        Rebuild the join's state also where it is sound.
    accept_loss
        Go on where feedback or outcomes that are needed are gone for good.
    discard_other_log
        Throw away what Redis holds of another log.
    """

    dry_run: bool = False
    force: bool = False
    accept_loss: bool = False
    discard_other_log: bool = False


CAREFUL = RecoverOptions()
"""Repair what needs it, and lose nothing."""
