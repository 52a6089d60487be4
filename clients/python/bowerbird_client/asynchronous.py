"""The client for asyncio."""

import asyncio
import logging
from fnmatch import fnmatchcase
from types import TracebackType
from typing import Self

from bowerbird_client.answer import Answer, Warnings, answer_of
from bowerbird_client.calls import ClientOptions, DecideCall, RewardCall
from bowerbird_client.checks import check_options
from bowerbird_client.connection import Connection
from bowerbird_client.contract import REPLIES
from bowerbird_client.errors import BowerbirdError, BrokerAway, NotDecided
from bowerbird_client.event_ids import EventIds
from bowerbird_client.messages import feedback_of, request_of
from bowerbird_client.options import method_takes
from bowerbird_client.outgoing import Calls, Outgoing
from bowerbird_client.requests import Requests
from bowerbird_client.streams import Streams
from bowerbird_client.valued import Valued
from bowerbird_client.values import (
    DEFAULT_MARK,
    default_of,
    event_id_of,
    feedback_id_of,
    json_of,
    own_event_id_of,
    seconds_of,
    text_of,
)

log = logging.getLogger(__name__)


class Client:
    """Asks for decisions, and reports what people did. An asynchronous context manager.

    It survives a broker that goes away and comes back: feedback waits here meanwhile, requests get their default.

    Parameters
    ----------
    brokers
        Kafka's bootstrap servers.
    reply_topic
        The name, behind the prefix, of the topic for replies; it is made where it is missing. Each program should have
        one of its own; the processes of one program may share it.
    prefix
        The service's setting ``prefix``.
    timeout_s
        How long :meth:`decide` waits by default; 0.5 s over Kafka.
    batch_ms
        How long feedback waits for more, to be sent in one message.
    most_waiting
        With so much feedback unacknowledged, :meth:`reward` waits.
    flush_within_s
        How long leaving the context waits for feedback to be acknowledged.
    properties
        Further properties of librdkafka, such as ``{"security.protocol": "SSL", "ssl.ca.location": "ca.pem"}``.
    connection
        Another way to speak than Kafka, for tests.

    Examples
    --------
    ::

        async with Client("127.0.0.1:9092", reply_topic="replies.shop") as client:
            answer = await client.decide("front", ["boots", "hat"], {"user": {"age": 34}}, default="hat")
            ...  # show answer.chosen; later, the person clicks
            await client.reward(answer.event_id, "clicks")
    """

    @method_takes(ClientOptions)
    def __init__(self, options: ClientOptions) -> None:
        check_options(options)
        self._connection = connection = _connection(options) if options.connection is None else options.connection
        given_s = connection.timeout_s if options.timeout_s is None else options.timeout_s
        self._timeout_s = seconds_of(given_s, "timeout_s")
        self._flush_within_s = options.flush_within_s
        topic = options.reply_topic
        # The pattern is the service's own setting; that it is another one is not known here.
        usual = fnmatchcase(topic, f"{REPLIES}*")
        self._no_reply = "" if usual else f": is {options.prefix}{topic} among the service's reply_topics ({REPLIES}*)?"
        self._outgoing = Outgoing(self._append, options.batch_ms / 1000, options.most_waiting)
        self._ids = EventIds()
        self._requests = Requests(connection, self._ids.mint())
        self._streams = Streams(connection.streams)
        self._warnings = Warnings()
        self._valued = Valued()
        self._state = "new"
        self._telling = Calls()

    async def __aenter__(self) -> Self:
        if self._state != "new":
            raise BowerbirdError(f"the client is {self._state}, and is opened once: make another one")
        self._state = "open"
        try:
            await self._connection.__aenter__()
        except BaseException:
            self._state = "closed"
            raise
        self._requests.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._state != "open":
            return
        # No call is taken any more; the feedback of those that were taken is sent.
        self._state = "closed"
        problem: BowerbirdError | None = None
        try:
            async with asyncio.timeout(self._flush_within_s):
                await self._telling.over()
                await self._outgoing.flush()
        except TimeoutError:
            problem = BrokerAway("some feedback was not acknowledged in time")
        except BowerbirdError as refused:
            problem = refused
        finally:
            left = self._outgoing.left()
            # A second cancellation does not leave threads behind.
            self._closing = asyncio.create_task(self._close())
            if left:
                problem = BrokerAway(f"{left} not acknowledged and dropped")
            if problem is not None:
                log.error("%s", problem)
            await asyncio.shield(self._closing)
        if problem is not None and error is None:
            raise problem

    async def _close(self) -> None:
        await self._requests.close()
        await self._outgoing.close()
        await self._connection.__aexit__(None, None, None)

    @method_takes(DecideCall)
    async def decide(self, call: DecideCall) -> Answer:
        """Ask what to show.

        An id that is an integer is taken as its text; numbers and arrays of numpy are numbers and lists.

        Parameters
        ----------
        placement
            Where it is to be shown.
        actions
            What can be chosen: ids, or objects with ``id`` and ``features``.
        context
            Features of the person and the moment: ``{namespace: {name: value}}``.
        top
            How many places of a ranked list to fill, each with another action; by default one action is chosen.
        default
            The id of the action to show when there is no decision in time, whatever the reason; of a ranked list the
            ids in their order.
        event_id
            The name of the decision; generated by default.
        activate
            False: nothing is learned of it before :meth:`activate`. Then a decision whose reply came too late, and
            that nobody saw, is no "no".
        timeout_s
            How long to wait. The service must decide within half of it, or not at all.

        Raises
        ------
        NotDecided
            There was no decision, and there is no default.
        BadInput
            The event id cannot be one, a value cannot be a feature, the default is not one of the actions, or the
            request is larger than its topic takes.
        """
        self._check_open()
        event_id = self._ids.mint() if call.event_id is None else own_event_id_of(call.event_id)
        value, offered = request_of(call, event_id)
        shown = None if call.default is None else default_of(call.default, offered, call.top or 1)
        timeout_s = self._timeout_s if call.timeout_s is None else seconds_of(call.timeout_s, "timeout_s")
        answer = await self._decided(event_id, value, timeout_s)
        if isinstance(answer, Answer):
            return answer
        if shown is None:
            raise answer
        log.warning("the default %s is shown: %s", ", ".join(map(repr, shown)), answer)
        return Answer(DEFAULT_MARK + event_id, shown[0], shown, reason=answer.code)

    async def _decided(self, event_id: str, value: bytes, timeout_s: float) -> Answer | NotDecided:
        """Return the answer to a request, or why there is none."""
        try:
            answer, rule = answer_of(event_id, await self._requests.ask(event_id, value, timeout_s))
        except TimeoutError:
            return NotDecided(event_id, "timeout", f"no reply within {timeout_s:g} s{self._no_reply}")
        except BrokerAway as error:
            return NotDecided(event_id, "broker_away", str(error))
        except NotDecided as error:
            return error
        self._warnings.log(answer.warnings)
        self._valued.answered(event_id, rule)
        return answer

    @method_takes(RewardCall)
    async def reward(self, call: RewardCall) -> str | None:
        """Report what a person did after a decision.

        It is sent with others, and again until it is acknowledged; :meth:`flush` waits for that.

        Parameters
        ----------
        event_id
            That of the answer.
        stream
            A stream of the service's configuration: what the person did.
        action
            Of a ranked list the id of the action that it is about; by default the one in the first place.
        value
            What it is worth, where the configuration says ``value = true``; then it must be given.
        id
            A name of this event: an event that is sent twice with one id counts once. Generated by default.
        activate
            True: what was decided was seen.

        Returns
        -------
        str or None
            The id. None: nothing is sent, since the answer was a default.

        Raises
        ------
        BadInput
            A field cannot be used, there is no such stream, or the value is missing that the rule of a decision of
            this client needs.
        """
        self._check_open()
        stream = text_of(call.stream, "stream")
        if text_of(call.event_id, "event_id").startswith(DEFAULT_MARK):
            return None
        event_id = event_id_of(call.event_id)
        feedback_id = self._ids.mint() if call.id is None else feedback_id_of(call.id)
        feedback = feedback_of(call, event_id, feedback_id)
        if feedback["value"] is None and not feedback["activate"]:
            self._valued.check(event_id, stream)
        with self._telling:
            await self._streams.check(stream)
            await self._outgoing.add(stream, json_of(feedback))
        return feedback_id

    async def activate(self, event_id: str | int, stream: str = "views") -> str | None:
        """Report that what was decided was seen, so that it may be learned; as :meth:`reward`."""
        return await self.reward(event_id, stream, activate=True)

    async def flush(self) -> None:
        """Return when all feedback so far is acknowledged.

        Raises
        ------
        BowerbirdError
            Some was refused for good since the last time.
        """
        self._check_open()
        await self._outgoing.flush()

    def _check_open(self) -> None:
        if self._state == "new":
            raise BowerbirdError("the client is not open: use it within `async with`, or `with`")
        if self._state == "closed":
            raise BowerbirdError("the client is closed: open another one")

    async def _append(self, stream: str, value: bytes) -> None:
        try:
            await self._streams.check_now(stream)
            await self._connection.append(stream, value)
        except BrokerAway:
            self._streams.doubt()
            raise


def _connection(options: ClientOptions) -> Connection:
    # Only here: with a connection of its own, a client needs no Kafka.
    from bowerbird_client.kafka import KafkaConnection

    return KafkaConnection(options.brokers, options.prefix, options.reply_topic, options.properties or {})
