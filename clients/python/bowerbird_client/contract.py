"""What docs/contract.md says of requests and feedback: names, headers and bounds."""

REQUESTS = "decision-requests"
OWN_TOPICS = frozenset(
    {REQUESTS, "decisions", "rewards", "versions", "dead-letters", "ticks", "check", "__consumer_offsets"}
)
"""Topics that are no streams."""
REPLIES = "replies."
"""Topics of such a name are for replies."""
CORRELATION_HEADER = "correlation-id"
REPLY_TOPIC_HEADER = "reply-topic"
EXPIRES_HEADER = "expires-ms"
LONGEST_EXPIRES_MS = 60_000
LARGEST_MESSAGE_BYTES = 4 * 1024 * 1024
EVENT_ID_BYTES = 128
"""Of an event id, and of the id of a feedback."""
ACTION_BYTES = 512
"""Of an action's id in feedback, as JSON."""
REWARD_LIMIT = 1e6
