"""Shows by a metric whether the policies of a learn role can learn, from a sample of what it learns."""

from policies.learnability import REASONS, Sights
from stream import metrics
from stream.config import Config

SAMPLE_EVERY_MS = 100.0
JUDGE_EVERY_MS = 5000.0


class Watch:
    """Looks at a message now and then, so that learning costs the same.

    Parameters
    ----------
    config
        Names the policies, and of which placements they learn.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._sights = Sights(config.learners())
        self._sampled_ms = self._judged_ms = float("-inf")

    def take(self, value: bytes | None, time_ms: int, now_ms: float) -> None:
        """Take a message of ``rewards`` and its log time, if one is due by a clock that only grows."""
        if now_ms - self._sampled_ms >= SAMPLE_EVERY_MS:
            self._sampled_ms = now_ms
            self._sights.outcomes(value, time_ms, decisions=True)

    def judge(self, policy: str, held: bool) -> None:
        """Show what was seen of a policy; ``held``: an operator has put a control in force."""
        sight = self._sights.of.get(policy)
        if sight is None:
            return
        symptoms = sight.symptoms(policy, self._config.policies[policy].arguments, held=held)
        fatal = {symptom.reason for symptom in symptoms if symptom.fatal}
        for reason in REASONS:
            metrics.CANNOT_LEARN.labels(policy, reason).set(reason in fatal)

    def due(self, now_ms: float) -> bool:
        """Tell whether it is time to judge."""
        if now_ms - self._judged_ms < JUDGE_EVERY_MS:
            return False
        self._judged_ms = now_ms
        return True
