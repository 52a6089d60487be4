"""The result of an evaluation as its caller gets it: with a frame, a picture, and a page for notebooks."""

from typing import TYPE_CHECKING, Any, Literal

from records.extras import needed_by
from replay.evaluation.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Answer(Result, frozen=True, kw_only=True):
    """What a policy would have been worth on a log, how far to trust that, and how to show it."""

    def frame(self, library: Literal["pandas", "polars", "arrow"] = "pandas") -> Any:
        """Return the estimates as a frame; see :func:`replay.evaluation.report.frame.frame`."""
        from replay.evaluation.report.frame import frame

        return frame(self, library)

    def plot(self) -> "Figure":
        """Return the estimates as a picture; see :func:`replay.evaluation.report.plot.figure`."""
        with needed_by("plot()", "report"):
            from replay.evaluation.report.plot import figure

        return figure(self)

    def _repr_html_(self) -> str | None:
        """Return the report's first screen, which a notebook shows; None without the extra ``report``."""
        try:
            from replay.evaluation.report.page import fragment
        except ModuleNotFoundError as error:
            if error.name not in ("jinja2", "markupsafe"):
                raise
            return None
        return fragment(self)
