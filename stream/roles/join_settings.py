"""What a join worker is by the configuration: the same in the role and in a recovery."""

from rewards.join_items import JoinSettings
from stream.config import Config


def input_topics(config: Config) -> list[str]:
    """Return the full names of the topics that the join reads."""
    return [*map(config.topic, config.read_by("join"))]


def join_settings(config: Config) -> JoinSettings:
    """Return the settings of the core."""
    return JoinSettings(
        decisions=config.topic("decisions"),
        prefix=config.prefix,
        shards=config.shards,
        shard_of=config.shard,
        early_s=config.early_s,
        close_grace_ms=config.close_grace_ms,
        dedup_horizon_s=config.dedup_horizon_s,
        feedback_limit=config.limits.max_feedback,
    )
