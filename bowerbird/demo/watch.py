"""What the logs of the loop say while it runs: how many windows closed and why, and which version has learned what."""

from collections import Counter
from dataclasses import dataclass, field

import msgspec

from records.codec import decode
from records.errors import BadInput
from records.policy_version import PolicyVersion
from stream.config import Config
from stream.kafka.follower import Follower
from stream.kafka.log import LogRecord

_version = msgspec.json.Decoder(PolicyVersion)


class _Closed(msgspec.Struct, frozen=True):
    policy: str
    shard: int
    outcome_seq: int
    why: str
    learn: bool
    reward: float


@dataclass(slots=True)
class Loop:
    """What became of one policy's decisions so far.

    Attributes
    ----------
    why
        Outcomes by why their window closed.
    learnable
        Outcomes that are to be learned; ``rewarded``: those with a reward that is not the default 0.
    versions
        Its published versions.
    """

    why: Counter[str] = field(default_factory=Counter)
    learnable: int = 0
    rewarded: int = 0
    versions: list[PolicyVersion] = field(default_factory=list)
    last: dict[int, int] = field(default_factory=dict)

    @property
    def outcomes(self) -> int:
        """How many windows have closed."""
        return self.why.total()

    @property
    def learned(self) -> int:
        """How many outcomes the newest version has learned."""
        return self.versions[-1].examples if self.versions else 0

    @property
    def version(self) -> str:
        """The name of the newest version."""
        return self.versions[-1].version if self.versions else "0"


class Watch:
    """Follows ``rewards``, ``versions`` and ``dead-letters``, as any reader of a log may; nothing notices it."""

    def __init__(self, config: Config) -> None:
        self.policies = {name: Loop() for name in config.policies}
        self.dead_letters: Counter[str] = Counter()
        self.rewards: dict[int, list[LogRecord]] = {number: [] for number in range(config.rewards_partitions)}
        self._rewards = [Follower(config, config.topic("rewards"), number) for number in self.rewards]
        self._versions = Follower(config, config.topic("versions"), 0)
        self._letters = [Follower(config, config.topic("dead-letters"), number) for number in range(config.partitions)]

    async def look(self) -> None:
        """Take in what was appended since the last look."""
        for follower in self._rewards:
            for record in await follower.to_end():
                self.rewards[record.partition].append(record)
                for outcome in msgspec.json.decode(record.value or b"[]", type=list[_Closed]):
                    self._closed(outcome)
        for record in await self._versions.to_end():
            self._published(record)
        for follower in self._letters:
            self.dead_letters.update(
                content.decode()
                for record in await follower.to_end()
                for name, content in record.headers
                if name == "reason"
            )

    async def stop(self) -> None:
        """Close the connections."""
        for follower in (*self._rewards, self._versions, *self._letters):
            await follower.stop()

    def _closed(self, outcome: _Closed) -> None:
        loop = self.policies[outcome.policy]
        if outcome.outcome_seq <= loop.last.get(outcome.shard, 0):
            return
        loop.last[outcome.shard] = outcome.outcome_seq
        loop.why[outcome.why] += 1
        loop.learnable += outcome.learn
        loop.rewarded += outcome.reward != 0

    def _published(self, record: LogRecord) -> None:
        try:
            version = decode(_version, record.value or b"")
        except BadInput:
            return  # the log's identity stands there, too
        versions = self.policies[version.policy].versions
        if not versions or versions[-1].number < version.number:
            versions.append(version)
