"""Every metric of every role, for Prometheus.

One file, so that a dashboard can be written by reading it. A role is a process of its own and sets only the
metrics that it knows. Label values are bounded: names come from the configuration, and a name that a caller
made up is counted as :data:`OTHER`.
"""

import time
from collections import Counter as Counts
from contextlib import suppress

from prometheus_client import Counter, Gauge, Histogram

OTHER = "other"
"""The label of a policy or stream that the configuration does not name."""

_FAST = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_SLOW = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)

# decide
REQUESTS = Counter("bowerbird_requests", "Decision requests read (an array counts each).", ["placement"])
DECISIONS = Counter("bowerbird_decisions", "Decisions appended and acknowledged.", ["placement"])
REQUEST_ERRORS = Counter("bowerbird_request_errors", "Requests answered by an error.", ["placement", "reason"])
REQUESTS_LOST = Counter("bowerbird_requests_lost", "Messages that retention removed before they were read.")
REPLIES = Counter(
    "bowerbird_replies",
    "Replies by what became of them: sent, late (the append took longer than the caller waits), failed,"
    " unknown_topic, dropped (too many wait for topics that cannot be written), not_asked, too_large.",
    ["result"],
)
REQUEST_SECONDS = Histogram(
    "bowerbird_request_seconds",
    "From a request's log time to its reply being handed to Kafka, by the broker's clock.",
    buckets=_FAST,
)
PREDICT_SECONDS = Histogram(
    "bowerbird_predict_seconds", "Decoding, predicting and drawing for one message.", buckets=_FAST
)
APPEND_SECONDS = Histogram(
    "bowerbird_append_seconds",
    "Appending the decisions of one fetch until all are acknowledged.",
    buckets=_FAST,
)

# decide and join
PENDING = Gauge("bowerbird_pending", "Decisions that wait for their window to close.", ["role", "placement"])

# join
APPLIED = Counter("bowerbird_applied", "Records applied to the join's state.", ["stream"])
JOIN_CALL_SECONDS = Histogram("bowerbird_join_call_seconds", "One call of the join's script.", buckets=_FAST)
OUTCOMES = Counter(
    "bowerbird_outcomes", "Outcomes acknowledged, by who learns them and why they closed.", ["policy", "why"]
)
EXTERNAL_DECISIONS = Counter(
    "bowerbird_external_decisions", "Outcomes of decisions that another system took.", ["policy"]
)
LATE_FEEDBACK = Counter(
    "bowerbird_late_feedback", "Feedback after its decision's deadline, of streams that change a reward.", ["stream"]
)
INPUT_WATERMARK = Gauge(
    "bowerbird_input_watermark_seconds",
    "Everything in this partition before this log time (Unix seconds) has been applied; the lowest one holds"
    " back every window.",
    ["topic", "partition"],
)
OPEN_TRANSACTION = Gauge(
    "bowerbird_open_transaction_offsets",
    "Offsets of this partition that an open transaction holds back, and with them every window; 0: none does.",
    ["topic", "partition"],
)
WATERMARK = Gauge("bowerbird_watermark_seconds", "Watermark of a shard, in Unix seconds of log time.", ["shard"])
BEHIND_WATERMARK = Counter(
    "bowerbird_behind_watermark",
    "Records older than the watermark of their partition: the close grace was too small.",
)

# archive
ARCHIVED = Counter("bowerbird_archived", "Rows in files of the archive that can be read.", ["topic"])
ARCHIVE_FILES = Counter("bowerbird_archive_files", "Files put into the archive.", ["topic"])
ARCHIVE_LOST = Counter("bowerbird_archive_lost", "Offsets that retention removed before they were archived.", ["topic"])
ARCHIVE_PUT_SECONDS = Histogram(
    "bowerbird_archive_put_seconds", "Writing, syncing and naming one file of the archive.", buckets=_SLOW
)
ARCHIVE_ERRORS = Counter("bowerbird_archive_errors", "Failed calls of the archive's file system.")

# join, learn and archive
INPUT_LAG = Gauge(
    "bowerbird_input_lag", "Messages of a partition that are not handled yet.", ["role", "topic", "partition"]
)
STOPPED = Gauge(
    "bowerbird_stopped",
    "1: this part of the input is stopped by a state that may not be continued (the log says what to do).",
    ["role", "part"],
)

# learn
LEARNED = Counter("bowerbird_learned", "Outcomes learned.", ["policy"])
NOT_LEARNED = Counter("bowerbird_not_learned", "Outcomes that say learn: false, or that were refused.", ["policy"])
CANNOT_LEARN = Gauge(
    "bowerbird_cannot_learn",
    "1: a policy learns nothing of its context or of its actions: crossed_not_sent (its arguments cross a namespace"
    " that no request sends), sent_not_used (no crossing brings its context to an action), probabilities_stand"
    " (rewards differ by action, its probabilities do not follow).",
    ["policy", "why"],
)
GAPS = Counter("bowerbird_gaps", "Jumps of an outcome's seq: something of rewards was lost.", ["policy"])
CONTRADICTING = Counter(
    "bowerbird_contradicting_outcomes",
    "Outcomes skipped as repeats, whose seq was learned under another event id: another program writes rewards.",
    ["policy"],
)
LOST_RACES = Counter("bowerbird_lost_races", "Publishes that found another version in their place.", ["policy"])
PUBLISHED = Counter("bowerbird_published", "Versions published.", ["policy"])
PUBLISH_SECONDS = Histogram("bowerbird_publish_seconds", "Saving and publishing one version.", buckets=_SLOW)
LEARN_SECONDS = Histogram("bowerbird_learn_seconds", "Learning of one policy from one message.", buckets=_SLOW)
MODEL_BYTES = Gauge("bowerbird_model_bytes", "Size of the last published model.", ["policy"])

# several roles
REPEATS = Counter("bowerbird_repeats", "Records that were handled before and were skipped.", ["role", "kind"])
POLICY_VERSION = Gauge("bowerbird_policy_version", "Number of the version in use.", ["role", "policy"])
POLICY_AGE = Gauge("bowerbird_policy_age_seconds", "Age of the version in use.", ["role", "policy"])
DEAD_LETTERS = Counter("bowerbird_dead_letters", "Dead letters acknowledged.", ["role", "reason"])
REDIS_ERRORS = Counter("bowerbird_redis_errors", "Failed calls of Redis.", ["role"])
BROKER_ERRORS = Counter("bowerbird_broker_errors", "Failed calls of Kafka.", ["role"])
UNEXPECTED_ERRORS = Counter(
    "bowerbird_unexpected_errors", "Errors that nobody foresaw; the log has the traceback.", ["role"]
)
REDIS_UP = Gauge("bowerbird_redis_up", "1: the last call of Redis succeeded.", ["role"])
BROKER_UP = Gauge("bowerbird_broker_up", "1: the last call of Kafka succeeded.", ["role"])

# the supervisor
ROLE_RESTARTS = Counter("bowerbird_role_restarts", "Starts of a role after it had died.", ["role"])


_FAILURES: Counts[str] = Counts()


def show_lag(role: str, stream: str, partition: int, behind: int) -> None:
    """Show how many messages of a partition are not handled yet; ``stream`` is its topic without the prefix."""
    INPUT_LAG.labels(role, stream, str(partition)).set(max(0, behind))


def forget_lag(role: str, stream: str, partition: int) -> None:
    """Show nothing of a partition any more: another worker has it."""
    with suppress(KeyError):
        INPUT_LAG.remove(role, stream, str(partition))


def failures(role: str) -> int:
    """Return how many calls of Redis and Kafka have failed in this process."""
    return _FAILURES[role]


def redis_failed(role: str) -> None:
    """Count a failed call of Redis and show Redis as down."""
    _FAILURES[role] += 1
    REDIS_ERRORS.labels(role).inc()
    REDIS_UP.labels(role).set(0)


def redis_answered(role: str) -> None:
    """Show Redis as up."""
    REDIS_UP.labels(role).set(1)


def broker_failed(role: str) -> None:
    """Count a failed call of Kafka and show the broker as down."""
    _FAILURES[role] += 1
    BROKER_ERRORS.labels(role).inc()
    BROKER_UP.labels(role).set(0)


def broker_answered(role: str) -> None:
    """Show the broker as up."""
    BROKER_UP.labels(role).set(1)


def policy_in_use(role: str, policy: str, number: int, published_ms: int) -> None:
    """Show which version of a policy is in use; its age goes on growing by itself.

    Parameters
    ----------
    published_ms
        When the version was published, in ms since 1970; 0 (never published): its age is shown as 0.
    """
    POLICY_VERSION.labels(role, policy).set(number)
    age = POLICY_AGE.labels(role, policy)
    age.set_function(lambda: max(0.0, time.time() - published_ms / 1000) if published_ms else 0.0)
