"""When a learner publishes."""


class PublishSchedule:
    """When to publish: after so many examples or so long, but for no more than a share of the time.

    Parameters
    ----------
    examples, interval_ms
        Publish when so many examples wait, or the first of them has waited so long.
    share
        The part of the time that publishing may take: a large model is published more seldom.
    longest_pause_ms
        The next publish waits no longer for that: a call may have waited for a server that was away.
    """

    def __init__(
        self, examples: int, interval_ms: float, share: float = 0.2, longest_pause_ms: float = 2_500.0
    ) -> None:
        self._examples, self._interval_ms, self._share = examples, interval_ms, share
        self._longest_pause_ms = longest_pause_ms
        self._since_ms: float | None = None
        self._not_before_ms = float("-inf")

    def due(self, now_ms: float, learned: int) -> bool:
        """Tell whether to publish now, given a time that only grows and how many examples wait.

        >>> schedule = PublishSchedule(examples=2000, interval_ms=500)
        >>> schedule.due(0, 1), schedule.due(499, 10), schedule.due(500, 10)
        (False, False, True)
        """
        if not learned:
            self._since_ms = None
            return False
        if self._since_ms is None:
            self._since_ms = now_ms
        waited = learned >= self._examples or now_ms - self._since_ms >= self._interval_ms
        return waited and now_ms >= self._not_before_ms

    def published(self, began_ms: float, ended_ms: float) -> None:
        """Note that a publish took from ``began_ms`` to ``ended_ms``."""
        self._since_ms = None
        self._not_before_ms = ended_ms + min((ended_ms - began_ms) * (1 / self._share - 1), self._longest_pause_ms)
