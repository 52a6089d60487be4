"""Every bound of a record, once."""

from dataclasses import dataclass

LARGEST_INTEGER = 2**53 - 1
"""The largest integer that every reader of JSON takes as it is."""
LAST_OFFSET = 2**63 - 1
"""The largest offset of Kafka, and its latest time in milliseconds."""
MOST_NAMED = 10
"""Names that an error lists; the others are only counted."""
INPUT_MESSAGE_BYTES = 1024 * 1024
"""``max.message.bytes`` of the topics that callers write."""
LONGEST_EXPIRES_MS = 60_000
"""The longest time that a request may give its decision."""
LAST_PORT = 65_535
TOPIC_NAME_CHARACTERS = 249
"""The longest name of a topic that Kafka takes."""
HOUR_MS = 3_600_000
DAY_S = 86_400.0
DAY_MS = 24 * HOUR_MS
ITEMS_LIMIT = 10_000
"""Records of one message; more of them cost more than their bytes say."""
RECORD_DEPTH = 100
"""Lists and objects of a request, a decision or a feedback that lie within each other."""
MESSAGE_DEPTH = 200
"""The same of a message: an array of records, or outcomes with their decisions."""
EVENT_ID_BYTES = 128
ACTION_BYTES = 512
"""Of an action's id in feedback, as JSON; no action of any setting has a longer one."""
MOST_FEEDBACK = 1000
"""The largest ``max_feedback``: so the largest outcome fits into a message."""
PMF_TOLERANCE = 1e-5
"""How far, relatively, a logged pmf may be from the sum 1, and a logged propensity from its pmf: six digits suffice."""
PMF_EXACT = 1e-6
"""What is further from it has been rounded, and is worth a warning where a log is judged."""
FEATURE_LIMIT = 1e10
"""Numbers lie strictly within this: their products still fit the single precision that learners compute in."""
REWARD_LIMIT = 1e6
"""No reward lies beyond this: a larger cost poisons a Vowpal Wabbit model for good."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a request may be. What exceeds one of these is refused, and the error names the field.

    Attributes
    ----------
    max_features
        Features of a context, and of an action; each item of a list is one.
    max_name_bytes
        UTF-8 bytes of the name of a feature or a namespace, and of an action's id.
    max_string_bytes
        UTF-8 bytes of a feature's string.
    max_list
        Items of a feature's list.
    max_actions
        Actions of a request.
    max_request_bytes
        Bytes of a request, and so of a context or an action.
    max_feedback
        Events that one decision waits with; the others are dead letters.
    """

    max_features: int = 1000
    max_name_bytes: int = 128
    max_string_bytes: int = 1024
    max_list: int = 1000
    max_actions: int = 500
    max_request_bytes: int = 262_144
    max_feedback: int = MOST_FEEDBACK
