"""What is said of the weights where several loggers wrote a log."""

from replay.evaluation.result import Finding

LISTS = Finding(
    name="lists",
    value=None,
    expected=None,
    p_value=None,
    wrong=False,
    says="the log has ranked lists, so there is no reward model, and not every check of the propensities applies",
)
"""Of a log that would have had a reward model."""
UNFIXED = Finding(
    name="balanced_over_versions",
    value=None,
    expected=None,
    p_value=None,
    wrong=True,
    says="balanced weights are biased over the versions of one learner, each of which was made by the rewards before "
    "it, and --fixed-loggers was not given",
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
        says=f"weights are not balanced over the loggers, each row counts by its own: {lacks}",
    )


def not_at_the_same_time(ended: str, began: str) -> Finding:
    """Return what is said where one of the loggers had ended when another began."""
    return Finding(
        name="not_at_the_same_time",
        value=None,
        expected=None,
        p_value=None,
        wrong=True,
        says=f"balanced weights need loggers that ran at the same time, and {ended} had ended when {began} began: what "
        "changed between them counts as the target's",
    )
