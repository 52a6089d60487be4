"""What is said of the weights where several loggers wrote a log."""

from replay.answer import Finding

UNFIXED = Finding(
    name="balanced_over_versions",
    value=None,
    expected=None,
    p_value=None,
    wrong=True,
    says="balanced weights are biased over the versions of one learner, each of which was made by the rewards before "
    "it, and nobody said that these loggers were fixed beforehand (--fixed-loggers)",
)
"""Of balanced weights on a log that a learner may have written."""


def not_balanced(lacks: str) -> Finding:
    """Return what is said where fixed loggers wrote the log, and what it ``lacks`` for balanced weights."""
    return Finding(
        name="not_balanced",
        value=None,
        expected=None,
        p_value=None,
        wrong=False,
        says="each row counts by the probability of its own logger alone; weights balanced over all of them are never "
        f"heavier, but: {lacks}",
    )
