"""The record that shows the broker's clock."""

import msgspec

from records.fields import Version


class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """Appended to learn the broker's clock.

    Attributes
    ----------
    v
        The version of the record.
    """

    v: Version = 1
