"""Which rewards the rules of outcomes allow."""

import math

import msgspec
import numpy as np

from records.errors import BadInput
from records.rule import rule_of
from replay.evaluation.logs.chunk import Range, spanned
from replay.evaluation.logs.outcome_rows import OutcomeRows
from rewards.rules import reward_range


def allowed_rewards(rows: OutcomeRows) -> Range | None:
    """Return the least and the largest reward that the rules of some outcomes allow."""
    if rows.batch.column("rule").null_count:
        return -math.inf, math.inf
    rules, places = rows.texts("rule"), rows.numbers("places").astype(np.int64)
    pairs = np.unique(np.stack((rules.codes, places)), axis=1).T.tolist()
    # The reward of a list is the sum over its places.
    ranges = [(_allowed_by(rules.names[code]), count) for code, count in pairs]
    return spanned([(least * count, most * count) for (least, most), count in ranges])


def _allowed_by(rule: str) -> Range:
    try:
        return reward_range(rule_of(msgspec.Raw(rule.encode())).reward)
    except BadInput:
        # Written by hand without a rule: the range is unknown.
        return -math.inf, math.inf
