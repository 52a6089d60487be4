"""Rule 4 of the house: no setting is without effect. Each setting is changed, and what a user may notice is compared.

A setting that is missing here fails ``test_every_setting_is_changed_here``.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

import pytest

from bowerbird.fake import FakeLoop
from embedded.server import free_port
from records.errors import WrongConfiguration
from records.limits import Limits
from records.rule import Reward, StreamReward
from rewards.join_worker import Fetched, JoinWorker
from stream import clients
from stream.config import ArchiveConfig, Config, PlacementConfig, PolicyConfig
from stream.health import HealthServer
from stream.kafka import topics
from stream.kafka.faust_app import make_app
from stream.kafka.log import LogRecord
from stream.liveness import Pulse
from stream.role import DECLARED
from stream.roles.archive import Archive
from stream.roles.archive_partition import ArchivedPartition
from stream.roles.decide import _Connection
from stream.roles.envelope import Envelopes
from stream.roles.join import JoinRole
from stream.roles.join_settings import join_settings
from stream.roles.learn import Learn

CLICKS = Reward(streams={"clicks": StreamReward(weight=1.0)})
FRONT = PlacementConfig(window_s=60, reward=CLICKS)
CONFIG = Config(archive=ArchiveConfig(url="/nowhere"), placements={"front": FRONT}, policies={"front": PolicyConfig()})
WHOLE = "visit-1"
Look = Callable[[Config], Any]


class Effect(NamedTuple):
    """A value other than the default, and what it changes."""

    value: Any
    look: Look


# What is looked at.


def request(config: Config, event_id: str = WHOLE, **own: Any) -> FakeLoop:
    """Return a loop that has got a request."""
    loop = FakeLoop(config)
    actions = [{"id": "boots", "features": {"item": {"kind": "shoes"}}}, {"id": "hat"}]
    ask(loop, {"event_id": event_id, "placement": "front", "actions": actions} | own)
    return loop


def ask(loop: FakeLoop, asked: dict[str, Any]) -> None:
    loop.append("decision-requests", json.dumps(asked).encode(), headers=[("reply-topic", b"replies.test")])


def problem(config: Config) -> str | None:
    """Return the code of the error that a request gets."""
    reply = json.loads(request(config).replies("replies.test")[0].value or b"")
    return cast("str | None", reply.get("error", {}).get("code"))


def choices(config: Config) -> list[str]:
    return [request(config, f"visit-{number}").records("decisions")[0]["chosen"] for number in range(20)]


def rule(config: Config) -> Any:
    return request(config).records("decisions")[0]["rule"]


def outcome(config: Config) -> Any:
    loop = request(config)
    loop.append("clicks", b'{"event_id": "visit-1"}')
    loop.advance(61)
    return [{key: each.get(key) for key in ("reward", "why", "learn")} for each in loop.records("rewards")]


def claimed_ms(config: Config) -> int | None:
    """Return up to when a tick says an input is read of which nothing waits."""
    worker = JoinWorker(join_settings(config))
    worker.assign("clicks", 0, 0, fresh=False)
    work = worker.tick(10_000, {("clicks", 0): 0}, {("clicks", 0): Fetched(0, 0)}, [("clicks", 0)])
    return work.parts[0][0].claims[0].watermark_ms


def longer_window(config: Config) -> list[str]:
    """Return why a decision with a window of a quarter of an hour is refused."""
    front = replace(config.placements["front"], window_s=900)
    loop = request(replace(config, placements={"front": front}))
    return [dict(letter.headers)["reason"].decode() for letter in loop.messages("dead-letters")]


def pending(config: Config) -> Any:
    """Return how many of some requests are answered while no window closes."""
    loop = request(config)
    for number in range(5):
        ask(loop, {"event_id": f"other-{number}", "placement": "front", "actions": [{"id": "boots"}, {"id": "hat"}]})
    return len(loop.records("decisions"))


def waiting(config: Config) -> list[str]:
    """Return why feedback that one decision waits with is refused."""
    loop = request(config)
    for number in range(3):
        loop.append("clicks", b'{"event_id": "visit-1", "feedback_id": "%d"}' % number)
    loop.advance(61)
    return [dict(letter.headers)["reason"].decode() for letter in loop.messages("dead-letters")]


def shard(config: Config) -> Any:
    loop = request(config)
    loop.advance(61)
    return loop.records("rewards")[0]["shard"]


def needs(config: Config) -> list[topics.TopicNeed]:
    return topics.needed(config)


def copies(config: Config) -> int:
    """Return with how many copies a topic is created."""
    created: list[Any] = []

    class Admin:
        async def create_topics(self, made: list[Any]) -> Any:
            created.extend(made)
            return SimpleNamespace(topic_errors=[])

        async def list_topics(self) -> list[str]:
            return [topic.name for topic in created]

    asyncio.run(topics._create(cast(Any, Admin()), config, topics.needed(config)))
    return cast(int, created[0].replication_factor)


def brokers(config: Config) -> Any:
    async def of() -> Any:
        producer = clients.producer(config, "test")
        await producer.stop()
        return producer.client._bootstrap_servers

    return asyncio.run(of())


def redis(config: Config) -> Any:
    return clients.redis_client(config).connection_pool.connection_kwargs.get("port")


def session(config: Config) -> Any:
    return make_app(config, "join").conf.broker_session_timeout


def envelope(config: Config) -> Any:
    opened = Envelopes(config).open([("reply-topic", b"answers")])
    return opened.ttl_ms, opened.reply_topic


def join_tick(config: Config) -> float:
    """Return how long the join waits between two ticks."""
    role = JoinRole(config, cast(Any, SimpleNamespace()))

    async def at_once(_: Any) -> None:
        return None

    role._retry = cast(Any, SimpleNamespace(until_done=at_once))
    return asyncio.run(slept(role._tick_forever))


def decide_tick(config: Config) -> float:
    """Return how long decide waits between two ticks."""
    connection = object.__new__(_Connection)
    connection._config = config

    class Clock:
        async def run(self, every_ms: int) -> None:
            raise InterruptedError(every_ms)

    async def ever() -> None:
        await asyncio.Event().wait()

    connection._clock = cast(Any, Clock())
    connection._read = ever  # type: ignore[method-assign]
    connection.partitions = cast(Any, SimpleNamespace(commit_now_and_then=ever))
    with pytest.raises(InterruptedError) as ended:
        asyncio.run(connection.run())
    return cast(float, ended.value.args[0])


async def slept(work: Callable[[], Awaitable[Any]]) -> float:
    """Return for how long something that runs for ever sleeps first."""
    asked: list[float] = []

    async def sleep(seconds: float) -> None:
        asked.append(seconds)
        raise asyncio.CancelledError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio, "sleep", sleep)
        with pytest.raises(asyncio.CancelledError):
            await work()
    return round(asked[0], 2)


def listens(config: Config) -> Any:
    """Return at which port the first role answers, or why at none."""
    server = HealthServer(config, next(iter(DECLARED)), lambda: True, Pulse())

    async def port() -> int:
        await server.on_start()
        try:
            return server.port
        finally:
            await server.on_stop()

    try:
        return asyncio.run(port()) == config.metrics_port
    except WrongConfiguration as error:
        return str(error)


def archive_of(config: Config) -> tuple[Archive, ArchivedPartition, list[int]]:
    """Return an archive role, a partition of it, and the list of the rows of each file that it will have closed."""
    role, closed = object.__new__(Archive), []
    role._config = config
    part = ArchivedPartition(("decisions", 0), 0, config, cast(Any, None))

    async def close(part: ArchivedPartition) -> bool:
        assert part.file is not None
        closed.append(part.file.rows)
        part.file = None
        return True

    role._close = close  # type: ignore[method-assign]
    return role, part, closed


def files(config: Config) -> list[int]:
    """Return the rows of the files that are closed when 25 records come."""
    role, part, closed = archive_of(config)

    async def take() -> None:
        for offset in range(25):
            await role._take(part, LogRecord("decisions", 0, offset, 0, None, b'{"event_id": "visit-1"}', ()))

    asyncio.run(take())
    return closed


def aged(config: Config) -> list[int]:
    """Return the rows of the files that are closed after half a minute."""
    role, part, closed = archive_of(config)

    async def look() -> None:
        await role._take(part, LogRecord("decisions", 0, 0, 0, None, b"{}", ()))
        assert part.file is not None
        part.file.opened_s -= 30
        role._app = cast(Any, SimpleNamespace(assigned={("decisions", 0)}))
        role._partitions = {("decisions", 0): part}
        role._looked_at_ends_s = float("inf")
        await role._look()

    asyncio.run(look())
    return closed


def due(config: Config) -> tuple[bool, ...]:
    """Return whether to publish: at once after 10 examples, and after 30 ms."""
    role = object.__new__(Learn)
    loaded: list[Any] = []

    async def load(_: Any) -> Any:
        return SimpleNamespace(saved=SimpleNamespace(version="0", number=0), cut=0)

    role._config, role._policies, role._dead_letters = config, {}, cast(Any, None)

    async def nothing(_: object) -> int:
        return 0

    role._app = cast(Any, SimpleNamespace(pulse=Pulse()))
    role._worker = cast(Any, SimpleNamespace(load=lambda _, schedule, __: loaded.append(schedule)))
    role._states = cast(
        Any,
        SimpleNamespace(load=load, publisher=lambda _: SimpleNamespace(published_ms=0), acknowledged_unlearned=nothing),
    )
    asyncio.run(role._load("front"))
    (schedule,) = loaded
    return schedule.due(0, 10), schedule.due(30, 10)


def decides(config: Config) -> str:
    """Return which policy decides for the placement."""
    policies = config.policies | {"other": PolicyConfig()}
    return str(request(replace(config, policies=policies)).records("decisions")[0]["policy"])


def with_other(config: Config) -> Config:
    return replace(config, placements=config.placements | {"other": FRONT})


def home(config: Config) -> int:
    """Return the partition of ``rewards`` for the outcomes of a policy."""
    return replace(config, rewards_partitions=8).rewards_partition("front")


def as_vw(config: Config) -> Config:
    arguments = config.policies["front"].arguments or "--cb_explore_adf --epsilon 0.1"
    return replace(config, policies={"front": replace(config.policies["front"], kind="vw", arguments=arguments)})


def learned(config: Config) -> Any:
    """Return the probabilities after a click."""
    loop = request(config)
    loop.append("clicks", b'{"event_id": "visit-1"}')
    loop.advance(61)
    ask(loop, {"event_id": "visit-2", "placement": "front", "actions": [{"id": "boots"}, {"id": "hat"}]})
    return loop.records("decisions")[-1]["pmf"]


def listed(config: Config) -> Any:
    loop = request(config, context={"user": {"tags": ["a", "b"]}})
    return json.loads(loop.replies("replies.test")[0].value or b"").get("error", {}).get("code")


POLICY = {
    "kind": Effect("vw", lambda config: learned(as_vw(config) if config.policies["front"].kind == "vw" else config)),
    "arguments": Effect("--cb_explore_adf --epsilon 0.5", lambda config: learned(as_vw(config))),
    "salt": Effect("other", choices),
    "publish_examples": Effect(10, due),
    "publish_ms": Effect(20, due),
    "placements": Effect(("other",), lambda config: learned(as_vw(with_other(config)))),
}
PLACEMENT = {
    "policy": Effect("other", decides),
    "window_s": Effect(90.0, outcome),
    "activate_on": Effect("views", outcome),
    "reward": Effect(Reward(streams={"clicks": StreamReward(weight=2.0)}), outcome),
    "max_pending": Effect(2, pending),
    "partition": Effect(5, home),
}
ARCHIVE = {
    "url": Effect(None, lambda config: config.roles),
    "max_s": Effect(20.0, aged),
    "max_rows": Effect(10, files),
    "max_bytes": Effect(100, files),
}
LIMITS = {
    "max_features": Effect(0, problem),
    "max_name_bytes": Effect(3, problem),
    "max_string_bytes": Effect(3, problem),
    "max_list": Effect(0, listed),
    "max_actions": Effect(1, problem),
    "max_request_bytes": Effect(10, problem),
    "max_feedback": Effect(1, waiting),
}
SERVICE = {
    "brokers": Effect("127.0.0.1:9", brokers),
    "redis_url": Effect("redis://127.0.0.1:9/0", redis),
    "prefix": Effect("shop-", needs),
    "shards": Effect(64, shard),
    "partitions": Effect(7, needs),
    "rewards_partitions": Effect(7, needs),
    "replication_factor": Effect(2, copies),
    "retention_s": Effect(90_000.0, needs),
    "survive_outage_s": Effect(100.0, needs),
    "early_s": Effect(7.0, rule),
    "close_grace_ms": Effect(0, claimed_ms),
    "dedup_horizon_s": Effect(1000.0, longer_window),
    "request_ttl_ms": Effect(7, envelope),
    "join_tick_ms": Effect(700, join_tick),
    "decide_tick_ms": Effect(700, decide_tick),
    "session_timeout_s": Effect(3.0, session),
    "reply_topics": Effect(("answers",), envelope),
    "metrics_host": Effect("192.0.2.1", listens),
    "metrics_port": Effect(free_port(), listens),
}

EFFECTS: dict[str, dict[str, Effect]] = {
    "": SERVICE,
    "archive": ARCHIVE,
    "limits": LIMITS,
    "placements": PLACEMENT,
    "policies": POLICY,
}


def changed(table: str, name: str) -> Config:
    value = EFFECTS[table][name].value
    if table in ("placements", "policies"):
        front = replace(getattr(CONFIG, table)["front"], **{name: value})
        tables: dict[str, Any] = {table: {"front": front}}
        return replace(CONFIG, **tables)
    if table:
        return replace(CONFIG, **{table: replace(getattr(CONFIG, table), **{name: value})})
    return replace(CONFIG, **{name: value})


def test_every_setting_is_changed_here() -> None:
    parts = {"archive": ArchiveConfig, "limits": Limits, "placements": PlacementConfig, "policies": PolicyConfig}
    known = {table: {each.name for each in fields(kind)} for table, kind in parts.items()}
    known[""] = {each.name for each in fields(Config)} - parts.keys()
    assert {table: set(effects) for table, effects in EFFECTS.items()} == known


@pytest.mark.parametrize(("table", "name"), [(table, name) for table in EFFECTS for name in EFFECTS[table]])
def test_a_setting_has_an_effect(table: str, name: str) -> None:
    look = EFFECTS[table][name].look
    before = look(CONFIG)
    assert look(CONFIG) == before, "what is looked at changes by itself"
    assert look(changed(table, name)) != before
