"""What a role waits for at its start."""

from collections.abc import Iterator

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, MessageSizeTooLargeError
from redis.exceptions import ResponseError

from records.errors import LossDetected, StateRefused, WrongConfiguration
from stream import retry as away
from stream import stopped

LOSS = LossDetected("shard 0", "seq 7", "seq 9", "run the recovery")
OTHER = StateRefused("topic t", "id a", "id b", "run the recovery")


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(away, "REFUSED_PAUSE_S", 0.0)
    yield
    stopped.go_on("join")


@pytest.mark.parametrize(("part", "shown"), [(None, "shard 0"), ("join", "join")])
async def test_a_recovery_is_waited_for_and_shown_meanwhile(part: str | None, shown: str) -> None:
    seen: list[dict[str, str]] = []

    async def call() -> int:
        seen.append(stopped.stopped_parts("join"))
        if len(seen) < 3:
            raise LOSS
        return 5

    assert await away.until_recovered("join", call, part=part) == 5
    assert seen == [{}, {shown: str(LOSS)}, {shown: str(LOSS)}]
    assert stopped.stopped_parts("join") == {}


async def test_what_else_of_the_role_stands_still_is_shown_further() -> None:
    """An assignment asks in the middle of a role's life."""

    async def call() -> int:
        return 5

    stopped.stop("join", OTHER.what, OTHER)
    assert await away.until_recovered("join", call) == 5
    assert stopped.stopped_parts("join") == {OTHER.what: str(OTHER)}


@pytest.mark.parametrize("refused", [OTHER, WrongConfiguration("shards: found 2, expected 3")])
async def test_what_no_recovery_ends_is_raised(refused: Exception) -> None:
    async def call() -> None:
        raise refused

    with pytest.raises(type(refused)):
        await away.until_recovered("join", call)
    assert stopped.stopped_parts("join") == {}


async def test_a_role_may_wait_after_every_refusal() -> None:
    refusals = [OTHER, LOSS]

    async def call() -> None:
        if refusals:
            raise refusals.pop()

    await away.until_recovered("join", call, waits_after=StateRefused)
    assert refusals == []


async def test_what_kafka_refuses_again_and_again_is_shown_until_it_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the connection is not reported: the broker has refused nothing."""
    monkeypatch.setattr(away, "retry_pause", no_wait)
    seen: list[dict[str, str]] = []
    errors = [KafkaConnectionError(), *[MessageSizeTooLargeError()] * 4]

    async def call() -> int:
        seen.append(stopped.stopped_parts("join"))
        if errors:
            raise errors.pop(0)
        return 5

    assert await away.until_there("join", "publishing front", call) == 5
    refused = "publishing front: Kafka refuses it (MessageSizeTooLargeError): `bowerbird check` says what to set right"
    assert seen == [{}] * 3 + [{"publishing front": refused}] * 3
    assert stopped.stopped_parts("join") == {}


async def test_what_kafka_does_not_acknowledge_again_and_again_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a topic needs more replicas than are there; a Redis that works on another call refuses nothing."""
    monkeypatch.setattr(away, "retry_pause", no_wait)
    seen: list[str] = []
    errors = [*[ResponseError("BUSY Redis is busy running a script")] * 4, *[KafkaTimeoutError()] * 4]

    async def call() -> None:
        seen.append(stopped.stopped_parts("join").get("publishing front", ""))
        if errors:
            raise errors.pop(0)

    await away.until_there("join", "publishing front", call)
    assert seen[:5] == [""] * 5
    assert seen[-1].startswith("publishing front: Kafka does not acknowledge it (KafkaTimeoutError): `bowerbird check`")


@pytest.mark.parametrize(
    ("answer", "code"), [("NOPERM this user has no permissions", "NOPERM"), ("x", "ResponseError")]
)
async def test_what_redis_refuses_again_and_again_is_shown_until_it_takes_it(
    monkeypatch: pytest.MonkeyPatch, answer: str, code: str
) -> None:
    monkeypatch.setattr(away, "retry_pause", no_wait)
    seen: list[str] = []

    async def call() -> None:
        seen.append(stopped.stopped_parts("join").get("saving front", ""))
        if len(seen) < 5:
            raise ResponseError(answer)

    await away.until_there("join", "saving front", call)
    refused = f"saving front: Redis refuses it ({code}): `bowerbird check` says what to set right"
    assert seen == ["", "", "", refused, refused]
    assert stopped.stopped_parts("join") == {}


async def no_wait(*_: object, **__: object) -> None:
    pass
