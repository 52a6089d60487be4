"""The client: ask for decisions, and tell what people did, from a Python program.

:class:`Client` is for asyncio, :class:`BlockingClient` for everything else. :mod:`bowerbird.fake` is the whole loop in
one process, for the tests of a program that uses them. Clients in other languages: docs/contract.md.
"""

from bowerbird.client.answer import Answer
from bowerbird.client.asynchronous import Client
from bowerbird.client.blocking import BlockingClient
from bowerbird.client.event_ids import EventIds

__all__ = ["Answer", "BlockingClient", "Client", "EventIds"]
