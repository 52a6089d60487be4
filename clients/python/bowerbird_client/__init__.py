"""Ask Bowerbird what to show, and report what people did, from a Python program.

:class:`Client` is for asyncio, :class:`BlockingClient` for all other programs. Clients in other languages:
docs/contract.md.
"""

from bowerbird_client.answer import Answer
from bowerbird_client.asynchronous import Client
from bowerbird_client.blocking import BlockingClient
from bowerbird_client.errors import BadInput, BowerbirdError, BrokerAway, NotDecided
from bowerbird_client.event_ids import EventIds
from bowerbird_client.version import __version__

__all__ = [
    "Answer",
    "BadInput",
    "BlockingClient",
    "BowerbirdError",
    "BrokerAway",
    "Client",
    "EventIds",
    "NotDecided",
    "__version__",
]
