"""The settings of a running service: one definition of every setting, its default, its limits and its meaning.

``bowerbird.settings`` reads it from TOML and the environment, and docs/settings.md is made from it; nothing here
knows of files.
"""

from dataclasses import dataclass, field
from typing import Annotated
from zlib import crc32

from annotated_types import Interval, Len

from policies.policy_store import PolicyIdentity
from records.limits import DAY_S, HOUR_MS, LAST_PORT, LONGEST_EXPIRES_MS, Limits
from records.rule import Reward, Rule
from stream.role import DECLARED, LOOP_ROLES, ROLES

LOOP_TOPICS = ("decision-requests", "decisions", "rewards", "versions", "ticks", "dead-letters")
CHECK_TOPIC = "check"
"""`bowerbird check` writes a record of each codec there; nothing else is ever written there."""
OWN_TOPICS = (*LOOP_TOPICS, CHECK_TOPIC)
"""No stream has one of these names, and no reply goes there."""
YEAR_S = 366 * DAY_S

Seconds = Annotated[float, Interval(ge=0, le=YEAR_S)]
Partitions = Annotated[int, Interval(ge=1, le=1024)]


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """One policy: what it is, what it learns of, and when it is published.

    Attributes
    ----------
    kind
        ``uniform`` draws every action alike and learns nothing; ``vw`` is Vowpal Wabbit.
    arguments
        The command line of Vowpal Wabbit; it needs ``--cb_explore_adf``. They never change under one name.
    salt
        Salts the draws, so that two policies are not correlated; the policy's name unless set.
    placements
        It learns all outcomes of these placements, whichever policy decided; by default of those for which it decides.
        They never change under one name, and their outcomes are in one partition of ``rewards``.
    publish_examples, publish_ms
        The learned policy is published after this many examples or milliseconds, whichever comes first.
    """

    kind: str = "uniform"
    arguments: Annotated[str, Len(0, 4096)] = ""
    salt: Annotated[str, Len(1, 64)] | None = None
    placements: tuple[str, ...] | None = None
    publish_examples: Annotated[int, Interval(ge=1, le=1_000_000)] = 2000
    publish_ms: Annotated[int, Interval(ge=10, le=HOUR_MS)] = 500


@dataclass(frozen=True, slots=True)
class PlacementConfig:
    """A place where something is shown: who decides, how long a decision waits for feedback, what feedback is worth.

    Attributes
    ----------
    policy
        The policy that decides; the one of the placement's name unless set.
    window_s
        Feedback counts until this many seconds after the decision; then its window closes.
    activate_on
        A stream; a decision is learned only when an event of it counted (somebody saw what was decided).
    reward
        What feedback is worth.
    max_pending
        With more decisions than this waiting for their window, requests get the error ``overloaded``.
    partition
        The partition of ``rewards`` for its outcomes; a stable hash of its policy's name unless set. It never changes.
    """

    policy: str | None = None
    window_s: Seconds = 600.0
    activate_on: str | None = None
    reward: Reward = field(default_factory=Reward)
    max_pending: Annotated[int, Interval(ge=1)] = 1_000_000
    partition: Annotated[int, Interval(ge=0, le=1023)] | None = None


@dataclass(frozen=True, slots=True)
class ArchiveConfig:
    """Where what the loop decided, gave and learned is kept for good, as Parquet.

    Attributes
    ----------
    url
        A folder, or the URL of one in an object store: ``s3://``, ``gs://`` or ``abfs://``; the archive role runs
        where it is set.
    max_s
        A file is closed, and can be read, this many seconds after its first record.
    max_rows, max_bytes
        It is closed earlier with so many records, or bytes of records (uncompressed).
    """

    url: Annotated[str, Len(1, 4096)] | None = field(default=None, repr=False)
    max_s: Annotated[float, Interval(ge=0.1, le=DAY_S)] = 60.0
    max_rows: Annotated[int, Interval(ge=1, le=10_000_000)] = 200_000
    max_bytes: Annotated[int, Interval(ge=1, le=1_073_741_824)] = 33_554_432


@dataclass(frozen=True, slots=True)
class Config:
    """The whole service.

    Attributes
    ----------
    brokers
        Kafka's bootstrap servers: host:port, comma separated.
    redis_url
        Where Redis is: ``redis://``, ``rediss://`` or ``unix://``. Its password is never shown or logged.
    prefix
        Stands before every topic, consumer group and Redis key, so that several services share servers.
    shards
        Parts of the join's state; one value for the life of the service.
    partitions
        Partitions of the topics that ``bowerbird topics create`` makes.
    rewards_partitions
        Partitions of ``rewards``; one value for the life of the service.
    replication_factor
        Copies of each topic that ``bowerbird topics create`` makes.
    retention_s
        How long the topics keep their records.
    survive_outage_s
        The longest outage that retention must outlast, on top of the longest window.
    early_s
        Feedback counts from this many seconds before its decision, and waits as long for an unknown one.
    close_grace_ms
        How far the clocks of the brokers may lie apart; a window closes that much later.
    dedup_horizon_s
        How long a closed event id is remembered, in log time; at least twice the longest window.
    request_ttl_ms
        A request older than this gets no decision, unless its header ``expires-ms`` says otherwise.
    join_tick_ms, decide_tick_ms
        How often a role asks the broker for its clock.
    session_timeout_s
        A worker that is silent for so long loses its partitions to another.
    reply_topics
        Patterns (``*``, ``?``, ``[a-z]``; the prefix is put before them) of the topics that a caller may name for
        replies.
    metrics_host
        Where the roles answer ``/health``, ``/ready`` and ``/metrics``.
    metrics_port
        The port of the first role; the others follow it. 0: a free one each, which the log names.
    archive
        Where the archive lies.
    limits
        How large a request may be.
    placements
        The placements, by name.
    policies
        The policies, by name.
    """

    brokers: Annotated[str, Len(1, 4096)] = "127.0.0.1:9092"
    redis_url: Annotated[str, Len(1, 4096)] = field(default="redis://127.0.0.1:6379/0", repr=False)
    prefix: Annotated[str, Len(0, 100)] = ""
    shards: Annotated[int, Interval(ge=1, le=1024)] = 1
    partitions: Partitions = 3
    rewards_partitions: Partitions = 1
    replication_factor: Annotated[int, Interval(ge=1, le=16)] = 1
    retention_s: Annotated[float, Interval(ge=60, le=10 * YEAR_S)] = 7 * DAY_S
    survive_outage_s: Seconds = DAY_S
    early_s: Seconds = 120.0
    close_grace_ms: Annotated[int, Interval(ge=0, le=60_000)] = 250
    dedup_horizon_s: Annotated[float, Interval(ge=0, le=2 * YEAR_S)] = DAY_S
    request_ttl_ms: Annotated[int, Interval(ge=1, le=LONGEST_EXPIRES_MS)] = 1000
    join_tick_ms: Annotated[int, Interval(ge=10, le=60_000)] = 200
    decide_tick_ms: Annotated[int, Interval(ge=10, le=60_000)] = 1000
    session_timeout_s: Annotated[float, Interval(ge=1, le=300)] = 10.0
    reply_topics: tuple[str, ...] = ("replies.*",)
    metrics_host: Annotated[str, Len(1, 255)] = "127.0.0.1"
    metrics_port: Annotated[int, Interval(ge=0, le=LAST_PORT)] = 0
    archive: ArchiveConfig = field(default_factory=ArchiveConfig)
    limits: Limits = field(default_factory=Limits)
    placements: dict[str, PlacementConfig] = field(default_factory=dict)
    policies: dict[str, PolicyConfig] = field(default_factory=dict)

    def topic(self, name: str) -> str:
        """Return the full name of a topic of the loop, or of a stream."""
        return self.prefix + name

    def stream_of(self, topic: str) -> str:
        """Return the name of the stream that a topic carries."""
        return topic.removeprefix(self.prefix)

    def read_by(self, role: str) -> list[str]:
        """Return the topics that a role reads, without the prefix."""
        declared = DECLARED[role]
        return [*declared.reads, *(self.streams if declared.reads_streams else ())]

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles that this service needs: ``archive`` only where it has a place."""
        return LOOP_ROLES if self.archive.url is None else ROLES

    @property
    def streams(self) -> tuple[str, ...]:
        """Every feedback stream that a placement names, sorted."""
        names: set[str] = set()
        for placement in self.placements.values():
            names.update(placement.reward.streams, placement.reward.close_on)
            if placement.activate_on is not None:
                names.add(placement.activate_on)
        return tuple(sorted(names))

    @property
    def weightless(self) -> frozenset[str]:
        """The streams whose events change nothing when they come late: no worth, no early close, no activation."""
        changing: set[str] = set()
        for placement in self.placements.values():
            worth = placement.reward.streams
            changing.update(name for name, stream in worth.items() if stream.value or stream.weight)
            changing.update(placement.reward.close_on)
            if placement.activate_on is not None:
                changing.add(placement.activate_on)
        return frozenset(self.streams) - changing

    @property
    def longest_window_s(self) -> float:
        """The longest window of all placements, in seconds; 0 without any."""
        return max((placement.window_s for placement in self.placements.values()), default=0.0)

    def rule(self, placement: str) -> Rule:
        """Return the rule that decide writes into a decision of a placement."""
        configured = self.placements[placement]
        return Rule(configured.window_s, self.early_s, configured.activate_on, configured.reward)

    def policy_of(self, placement: str) -> str:
        """Return the policy that decides for a placement."""
        return self.placements[placement].policy or placement

    def placements_of(self, policy: str) -> tuple[str, ...]:
        """Return the placements whose outcomes a policy learns, sorted."""
        configured = self.policies[policy].placements
        return self.decided_by(policy) if configured is None else tuple(sorted(configured))

    def learners(self) -> dict[str, tuple[str, ...]]:
        """Return the placements of which each policy learns; one of kind ``uniform`` learns nothing."""
        return {name: self.placements_of(name) for name, policy in self.policies.items() if policy.kind != "uniform"}

    def decided_by(self, policy: str) -> tuple[str, ...]:
        """Return the placements for which a policy decides, sorted."""
        return tuple(sorted(name for name in self.placements if self.policy_of(name) == policy))

    def salt(self, policy: str) -> str:
        """Return the salt of a policy's draws: its name unless configured."""
        return self.policies[policy].salt or policy

    def rewards_partition(self, placement: str) -> int:
        """Return the partition of ``rewards`` that holds a placement's outcomes."""
        configured = self.placements.get(placement)
        if configured is None:
            return crc32(placement.encode()) % self.rewards_partitions
        if configured.partition is not None:
            return configured.partition
        return crc32(self.policy_of(placement).encode()) % self.rewards_partitions

    def learn_partition(self, policy: str) -> int:
        """Return the partition of ``rewards`` that a policy learns."""
        placements = self.placements_of(policy)
        return self.rewards_partition(placements[0] if placements else policy)

    def shard(self, event_id: str) -> int:
        """Return the shard of the join's state that holds an event id."""
        return crc32(event_id.encode()) % self.shards

    def group(self, role: str) -> str:
        """Return the consumer group of a role: one group for two roles would split their topics."""
        return f"{self.prefix}bowerbird-{role}"


def identity_in(config: Config, policy: str) -> PolicyIdentity:
    """Return what the configuration says a policy is."""
    configured = config.policies[policy]
    return PolicyIdentity(configured.kind, configured.arguments, config.salt(policy), config.placements_of(policy))
