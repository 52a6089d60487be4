"""What is said of the weights where several loggers wrote a log, or where it has ranked lists."""

from replay.evaluation.result import Finding

UNFIXED = Finding(
    name="balanced_over_versions",
    wrong=True,
    says="balanced weights are biased over the versions of one learner, each of which was made by the rewards before "
    "it, and --fixed-loggers was not given",
)
"""Of balanced weights on a log that a learner may have written."""


def ranked_lists(whole: bool) -> Finding:
    """Return what is said of a log with ranked lists, which are weighed as a ``whole`` or by place."""
    weighed = (
        "each is weighed as a whole"
        if whole
        else "each is weighed place by place, which is right if the reward of a place does not depend on the places "
        "below it (--whole-lists does not assume this)"
    )
    return Finding(
        name="lists",
        wrong=False,
        says=f"the log has ranked lists: {weighed}; there is no reward model, and not every check of the propensities "
        "applies",
    )


def not_balanced(lacks: str) -> Finding:
    """Return what is said where fixed loggers wrote the log, and what it ``lacks`` for balanced weights."""
    return Finding(
        name="not_balanced",
        wrong=False,
        says=f"weights are not balanced over the loggers, each row counts by its own: {lacks}",
    )


def not_at_the_same_time(ended: str, began: str) -> Finding:
    """Return what is said where one of the loggers had ended when another began."""
    return Finding(
        name="not_at_the_same_time",
        wrong=True,
        says=f"balanced weights need loggers that ran at the same time, and {ended} had ended when {began} began: what "
        "changed between them counts as the target's",
    )
