"""Headers of a request: where the reply goes, and how long somebody waits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from records.errors import BadInput
from records.rule import Reward, StreamReward
from stream.config import Config
from stream.roles.envelope import Envelopes, expires_ms
from tests.serving import served, tables

CONFIG = Config(
    prefix="shop-",
    reply_topics=("replies.*", "answers", "*s"),
    **tables({"front": served(reward=Reward(streams={"clicks": StreamReward(weight=1.0)}))}),
)


def opened(*headers, config=CONFIG):
    return Envelopes(config).open(headers)


@pytest.mark.parametrize("topic", ["shop-replies.a", "shop-replies.", "shop-answers", "shop-others"])
def test_allowed_reply_topics(topic):
    envelope = opened(("reply-topic", topic.encode()))
    assert (envelope.reply_topic, envelope.problem) == (topic, None)


@pytest.mark.parametrize(
    "topic",
    [
        "replies.a",
        "shop-elsewhere",
        "shop-decisions",
        "shop-rewards",
        "shop-versions",
        "shop-decision-requests",
        "shop-ticks",
        "shop-dead-letters",
        "shop-clicks",
        "other-replies.a",
        "shop-replies./x",
        "shop-replies.\n",
        "shop-replies.ü",
        "shop-replies." + "x" * 240,
        "",
    ],
)
def test_reply_topics_that_are_not_allowed(topic):
    envelope = opened(("reply-topic", topic.encode()))
    assert envelope.reply_topic is None
    assert envelope.problem.code == "reply_topic_not_allowed"


def test_kafka_s_own_topics_are_never_allowed():
    everything = Config(reply_topics=("*",))
    for topic in (b"__consumer_offsets", b"__transaction_state", b"decisions", b"ticks"):
        assert opened(("reply-topic", topic), config=everything).problem is not None
    assert opened(("reply-topic", b"elsewhere"), config=everything).problem is None


@given(st.binary(max_size=300))
def test_any_bytes_as_a_reply_topic_are_answered(content):
    envelope = opened(("reply-topic", content))
    assert (envelope.reply_topic is None) == (envelope.problem is not None)


def test_the_correlation_id_goes_back_under_the_name_it_came_with():
    assert opened(("correlation-id", b"1")).reply_headers == (("correlation-id", b"1"),)
    assert opened(("kafka_correlationId", b"\0")).reply_headers == (("kafka_correlationId", b"\0"),)
    assert opened(("kafka_replyTopic", b"shop-answers")).reply_topic == "shop-answers"
    assert opened().reply_topic is None


def test_time_to_live():
    assert opened().ttl_ms == CONFIG.request_ttl_ms
    assert opened(("expires-ms", b"250")).ttl_ms == 250
    assert opened(("expires-ms", b"-1")).problem.code == "bad_expires_ms"
    assert opened(("expires-ms", None)).ttl_ms == CONFIG.request_ttl_ms


@given(st.integers(0, 60_000))
def test_durations_that_are_understood(milliseconds):
    assert expires_ms(str(milliseconds).encode()) == milliseconds


@given(st.binary(max_size=30) | st.integers().map(lambda number: str(number).encode()))
def test_durations_are_whole_numbers_in_the_range_or_refused(content):
    if content.isdigit() and len(content) < 10 and int(content) <= 60_000:
        assert expires_ms(content) == int(content)
    else:
        with pytest.raises(BadInput) as refused:
            expires_ms(content)
        assert refused.value.code == "bad_expires_ms"
