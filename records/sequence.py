"""Which numbers may follow in a sequence of ours: the seqs of outcomes, and the numbers of versions.

Every reader of ``rewards`` and ``versions`` skips a record whose number leaves too large a gap. Otherwise one forged
record could use up the numbers.
"""

MAX_GAP = 10**9
"""No join gives so many seqs between two outcomes that follow each other, and no learner so many numbers.

Nine million forged records in a row, each with such a gap, would use up the numbers to
:data:`records.limits.LARGEST_INTEGER`.
"""


def gap_too_large(last: int, number: int) -> bool:
    """Tell whether a number lies too far above the last one to have been assigned by us.

    >>> gap_too_large(7, 9), gap_too_large(7, 2**53 - 1)
    (False, True)
    """
    return number > last + MAX_GAP
