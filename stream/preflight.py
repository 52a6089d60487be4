"""What a service needs of its servers before it starts, and their failures in words."""

from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ReadOnlyError, RedisError, ResponseError

from records.errors import BrokerAway, StateRefused
from stream import clients
from stream.clients import refusal_code
from stream.config import Config
from stream.redis.policy_store import of_its_type, policy_key
from stream.redis.spoilt import reading
from stream.redis.store import shard_key
from stream.shutdown import closed, started


class BrokerFacts(NamedTuple):
    """What the brokers say of themselves.

    Attributes
    ----------
    sessions_s
        The shortest and the longest session of a consumer group, in seconds; None: they do not tell.
    """

    cluster_id: str
    brokers: int
    sessions_s: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What Redis says of itself; None: it does not tell (a hosted Redis may refuse ``CONFIG GET``)."""

    version: str
    append_only: str | None
    append_fsync: str | None
    eviction: str | None


class Remembered(NamedTuple):
    """A setting that never changes, and what the service was begun with (None: nothing is kept yet)."""

    setting: str
    configured: str
    kept: str | None


async def broker_facts(config: Config) -> BrokerFacts:
    """Ask Kafka who it is.

    Raises
    ------
    KafkaError
        It does not answer; :func:`explain` says so in words.
    """
    admin = await started(clients.admin(config, "bowerbird-preflight"))
    try:
        cluster = await admin.describe_cluster()
        sessions_s = await _sessions_s(admin, cluster["brokers"][0]["node_id"])
    finally:
        await closed(admin)
    return BrokerFacts(str(cluster["cluster_id"]), len(cluster["brokers"]), sessions_s)


async def _sessions_s(admin: AIOKafkaAdminClient, node: int) -> tuple[float, float] | None:
    (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.BROKER, str(node))])
    ((code, _, _, _, entries, *_),) = response.resources
    found = {entry[0]: entry[1] for entry in entries}
    names = [f"group.{bound}.session.timeout.ms" for bound in ("min", "max")]
    if code or not all(str(found.get(name, "")).isdigit() for name in names):
        # Who hosts these brokers may not let it be read.
        return None
    shortest, longest = (int(found[name]) / 1000 for name in names)
    return shortest, longest


async def redis_facts(redis: "Redis") -> RedisFacts:
    """Ask Redis who it is, and whether it keeps what it acknowledges."""
    server: dict[str, Any] = await redis.info("server")
    memory: dict[str, Any] = await redis.info("memory")
    try:
        settings: dict[str, str] = {
            _text(name): _text(value) for name, value in (await redis.config_get("append*")).items()
        }
    except ResponseError:
        settings = {}
    return RedisFacts(
        str(server["redis_version"]),
        settings.get("appendonly"),
        settings.get("appendfsync"),
        memory.get("maxmemory_policy"),
    )


async def used_memory(redis: "Redis") -> tuple[int, int] | None:
    """Return how many bytes Redis uses, and may use; None: it has no limit of its own, or does not tell."""
    try:
        memory: dict[str, Any] = await redis.info("memory")
    except ResponseError:
        return None
    most = int(memory.get("maxmemory", 0))
    return (int(memory["used_memory"]), most) if most else None


async def remembered(redis: "Redis", config: Config) -> list[Remembered]:
    """Return what the service was begun with: shards, and where each policy's outcomes lie."""
    count = shard_key(config.prefix, "s", "count")
    with reading(count):
        shards = await redis.get(count)
    # What is no number is a finding on the join's state.
    kept_shards = _text(shards) if shards is not None and shards.isdigit() else None
    settings = [Remembered("shards", str(config.shards), kept_shards)]
    for name in config.policies:
        with of_its_type(name):
            home: dict[Any, Any] = await redis.hgetall(policy_key(config.prefix, name, "home"))
        kept = {_text(key): _text(value) for key, value in home.items()}
        for setting, configured in (
            ("partition", config.learn_partition(name)),
            ("rewards_partitions", config.rewards_partitions),
        ):
            settings.append(Remembered(f"{setting} of policy {name}", str(configured), kept.get(setting)))
    return settings


SEE_ITS_LOG = "see its log and its configuration"
REFUSALS = {
    "BUSY": "it works on another call; try again, and see its log where that lasts",
    "MISCONF": "it cannot write its files: see its log, and its disk",
    "NOREPLICAS": "start its replicas, or lower min-replicas-to-write",
    "OutOfMemoryError": "raise maxmemory, and see what fills it",
}
"""What to do where Redis refuses a command, by the code of its answer."""


def explain(error: BaseException, config: Config) -> str | None:
    """Say in words that a server failed, and what to do; None for an error that is no server's."""
    if isinstance(error, AuthenticationError):
        return f"{redis_place(config)} refused the password: correct redis_url"
    if isinstance(error, ReadOnlyError):
        return f"{redis_place(config)} is a replica and takes no writes: correct redis_url, or make it the primary"
    if isinstance(error, NoPermissionError):
        return f"{redis_place(config)} lets its user not do all that is needed: allow +@all on {config.prefix}*"
    if isinstance(error, ResponseError):
        code = refusal_code(error)
        return f"{redis_place(config)} refused a command ({code}): {REFUSALS.get(code, SEE_ITS_LOG)}"
    if isinstance(error, RedisError):
        return f"{redis_place(config)} did not answer ({type(error).__name__}): start it, or correct redis_url"
    if isinstance(error, KafkaError):
        return f"Kafka at {config.brokers} did not answer ({type(error).__name__}): start it, or correct brokers"
    if isinstance(error, BrokerAway | StateRefused):
        return str(error)
    return None


async def write(redis: "Redis", config: Config) -> None:
    """Write to Redis a key that lives for a second, and once more by a script, as the join writes.

    Raises
    ------
    RedisError
        It takes no writes, or runs no script; :func:`explain` says so in words.
    """
    key = f"{{{config.prefix}service}}:check"
    await redis.set(key, "", px=1000)
    await redis.register_script("return redis.call('SET', KEYS[1], '', 'PX', 1000)")([key])


def redis_place(config: Config) -> str:
    """Say where Redis is, without user and password.

    >>> redis_place(Config(redis_url="redis://user:secret@host:6379/0"))
    'Redis at host:6379'
    """
    url = urlsplit(config.redis_url)
    return f"Redis at {url.path if url.scheme == 'unix' else url.netloc.rpartition('@')[2]}"


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
