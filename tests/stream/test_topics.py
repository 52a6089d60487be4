"""What the loop needs of its topics, and what contradicts it."""

import pytest

from records.rule import Reward, StreamReward
from stream.config import Config
from stream.kafka.topics import TopicFound, TopicNeed, compare, contradictions, needed
from tests.serving import served, tables

CONFIG = Config(
    prefix="shop-",
    partitions=4,
    rewards_partitions=2,
    **tables({"front": served(window_s=600, reward=Reward(streams={"clicks": StreamReward(weight=1.0)}))}),
)


def found_as(need: TopicNeed, partitions: int | None = None, **settings: str) -> TopicFound:
    changed = need.settings() | {name.replace("_", "."): value for name, value in settings.items()}
    return TopicFound(need.partitions if partitions is None else partitions, changed)


def test_every_topic_and_stream_is_needed_once():
    names = [need.name for need in needed(CONFIG)]
    assert names == [
        "shop-decision-requests",
        "shop-decisions",
        "shop-clicks",
        "shop-rewards",
        "shop-versions",
        "shop-ticks",
        "shop-dead-letters",
    ]


def test_what_create_makes_is_what_check_needs():
    for need in needed(CONFIG):
        assert compare(need, found_as(need)) == []
        assert need.settings()["message.timestamp.type"] == "LogAppendTime"
        assert compare(need, found_as(need, need.partitions + 1)) == []
    by_name = {need.name: need for need in needed(CONFIG)}
    assert by_name["shop-versions"].settings()["retention.ms"] == "-1"
    assert by_name["shop-ticks"].settings()["retention.ms"] == "3600000"
    assert by_name["shop-versions"].partitions == by_name["shop-ticks"].partitions == 1


@pytest.mark.parametrize(
    ("topic", "partitions", "settings", "setting"),
    [
        ("shop-clicks", None, {"message_timestamp_type": "CreateTime"}, "message.timestamp.type"),
        ("shop-clicks", None, {"cleanup_policy": "compact"}, "cleanup.policy"),
        ("shop-clicks", None, {"retention_ms": "1000"}, "retention.ms"),
        ("shop-clicks", None, {"max_message_bytes": "1000"}, "max.message.bytes"),
        ("shop-decisions", None, {"max_message_bytes": "1048588"}, "max.message.bytes"),
        ("shop-rewards", 1, {}, "partitions"),
        ("shop-versions", None, {"retention_ms": "604800000"}, "retention.ms"),
        ("shop-versions", None, {"retention_bytes": "1000"}, "retention.bytes"),
    ],
)
def test_a_contradiction_names_topic_setting_found_and_needed(topic, partitions, settings, setting):
    need = next(need for need in needed(CONFIG) if need.name == topic)
    (problem,) = compare(need, found_as(need, partitions, **settings))
    assert (problem.topic, problem.setting) == (topic, setting)
    shown = next(iter(settings.values()), str(partitions))
    assert problem.found == shown
    assert all(part in str(problem) for part in (topic, setting, problem.found, problem.needed))


def test_more_is_fine():
    clicks = next(need for need in needed(CONFIG) if need.name == "shop-clicks")
    assert compare(clicks, found_as(clicks, 64, retention_ms="-1", max_message_bytes="9999999")) == []


def test_decisions_need_a_partition_for_each_of_the_requests():
    needs = {need.name: need for need in needed(CONFIG)}
    topics = {
        "shop-decision-requests": found_as(needs["shop-decision-requests"], 6),
        "shop-decisions": found_as(needs["shop-decisions"], 4),
    }
    (problem,) = contradictions(CONFIG, topics)
    assert (problem.topic, problem.found, problem.needed) == ("shop-decisions", "4", "at least 6")
