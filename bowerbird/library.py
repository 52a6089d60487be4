"""The functions of the library that take the options of a command."""

from typing import Any

from bowerbird.commands.shared import stages
from bowerbird.evaluation_request import EvaluationRequest
from bowerbird.option_records import takes
from records.extras import needed_by


@takes(EvaluationRequest)
def evaluate(request: EvaluationRequest) -> Any:
    """Estimate a policy's value from a log, and say first whether to trust it.

    The same as ``bowerbird replay evaluate`` (docs/evaluation.md). Needs the extra ``bowerbird[evaluate]``.

    Parameters
    ----------
    {parameters}

    Returns
    -------
    replay.evaluation.answer.Answer
        With ``verdict``, ``estimates``, ``difference``, ``health``, …; ``.frame()`` is a frame of the estimates,
        ``.plot()`` a picture of them, and a notebook shows the report.

    Raises
    ------
    records.errors.BadInput
        The log is damaged, or no row of it can be used.
    records.errors.WrongConfiguration
        There is no such log, target, estimator, interval or model, or they cannot be combined.

    Examples
    --------
    >>> found = evaluate({"reward": [1, 0] * 500, "propensity": [0.5] * 1000, "target": [0.5] * 1000})
    >>> found.verdict.level, found.ips
    ('reliable', 0.5)
    """
    with needed_by("bowerbird.evaluate", "evaluate"):
        from bowerbird.evaluating import evaluated, evaluated_in_memory

    with stages() as progress:
        if request.in_memory:
            return evaluated_in_memory(request, progress)
        return evaluated(request, "bowerbird.evaluate(...)", progress)
