"""The types of the fields of records."""

from typing import Annotated, Literal

from msgspec import Meta, Raw

from records.limits import LARGEST_INTEGER

NAME_PATTERN = r"^[a-z0-9-]{1,64}$"
"""Of policies, placements and streams."""
NO_LINE_END = r"(?!\n)"
"""In Python, ``$`` alone passes a line end."""
EXTERNAL = "external"
"""The policy version of a decision that another system took (an imported log)."""


def _passed_on(schema: str) -> Meta:
    """Return what the JSON Schema says of an object whose bytes are passed on as they came."""
    return Meta(extra_json_schema={"$ref": f"#/$defs/{schema}"})


RawFeatures = Annotated[Raw, _passed_on("Features")]
RawAction = Annotated[Raw, _passed_on("Action")]
RawRule = Annotated[Raw, _passed_on("Rule")]
RawDecision = Annotated[Raw, _passed_on("Decision")]
RawFeedback = Annotated[Raw, _passed_on("Feedback")]
Name = Annotated[str, Meta(pattern=NAME_PATTERN + NO_LINE_END)]
Version = Literal[1]
Integer = Annotated[int, Meta(ge=-LARGEST_INTEGER, le=LARGEST_INTEGER)]
Natural = Annotated[int, Meta(ge=0, le=LARGEST_INTEGER)]
Positive = Annotated[int, Meta(ge=1, le=LARGEST_INTEGER)]
Ordinal = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""The number of a partition, a shard or an item: what Kafka and the archive keep in 32 bits."""
Places = Annotated[int, Meta(ge=1, le=2**31 - 1)]
"""A number of places of a ranked list."""
OutboxName = Annotated[str, Meta(pattern=r"^[a-z0-9-]{1,64}/[0-9]{1,4}$" + NO_LINE_END)]
"""A placement and a shard, see :func:`records.outcome.outbox_name`."""
