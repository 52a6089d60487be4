"""The record that names a log."""

import msgspec

from records.fields import Version


class LogIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """The first record of ``versions``: names this log, together with the cluster's id.

    Attributes
    ----------
    v
        The version of the record.
    log_id
        A random name.
    """

    v: Version = 1
    log_id: str
