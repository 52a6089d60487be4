"""All figures that the demo measures: what its table, its picture and its JSON file hold."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from bowerbird.demo.live import Point
from bowerbird.demo.real_log import Worth
from replay.evaluation.answer import Answer


@dataclass(slots=True)
class RealLog:
    """What became of the real log."""

    rows: int
    clicks: int
    learned: int
    versions: int
    uniform: Worth
    value: Worth

    @property
    def apart(self) -> bool:
        """Whether the intervals of uniform and of what was learned do not touch."""
        one, other = self.uniform.snips, self.value.snips
        ends = one.low, one.high, other.low, other.high
        if None in ends:
            return False
        low, high, other_low, other_high = (float(end or 0.0) for end in ends)
        return high < other_low or other_high < low


@dataclass(slots=True)
class Live:
    """What happened in the live world; ``rates`` by the name of a stretch of it."""

    visits: int
    decided: int
    errors: dict[str, int]
    events: int
    repeated: int
    ahead: int
    late: int
    change_visit: int
    rates: dict[str, Point] = field(default_factory=dict)
    curve: list[Point] = field(default_factory=list)


@dataclass(slots=True)
class Learner:
    """The learner's death and return.

    Attributes
    ----------
    killed_pid, back_pid
        The process that was killed, and the one that replaced it.
    killed_visit, learned_visit
        The visits at which it was killed, and at which a version by its successor first decided.
    back_after_s, learned_after_s
        Seconds from the kill until the new process ran, and until it had published.
    """

    killed_pid: int = 0
    killed_visit: int = 0
    back_pid: int = 0
    back_after_s: float = float("nan")
    learned_visit: int = 0
    learned_after_s: float = float("nan")


@dataclass(slots=True)
class Proof:
    """The verdict on one policy; ``ok`` only when everything is right."""

    ok: bool
    decisions: int
    outcomes: int
    learned: int
    missing: int
    doubled: int
    wrong: int
    versions: int
    identical: bool
    live_digest: str
    recomputed_digest: str


@dataclass(slots=True)
class DecisionProof:
    """One past decision, decided again."""

    event_id: str
    policy_version: str
    ok: bool
    reason: str


@dataclass(slots=True)
class Archived:
    """What the archive holds of the log.

    Attributes
    ----------
    ok
        Whether it holds everything, and each evaluation went over every outcome once.
    rows, files
        Of all its topics.
    lacking
        Partitions whose end it did not hold in time, as ``rewards[0]``.
    waited_s
        Seconds until it held everything.
    evaluations
        Of the live world's policy: what uniform, and its latest version, would have been worth.
    """

    ok: bool
    rows: int
    files: int
    lacking: list[str]
    waited_s: float
    evaluations: list[Answer]


@dataclass(slots=True)
class Figures:
    """Everything."""

    seed: int
    seconds: float
    real_log: RealLog
    live: Live
    learner: Learner
    proof: dict[str, Proof]
    decision: DecisionProof
    archive: Archived
    dead_letters: dict[str, int]
    part_seconds: dict[str, float]
    plot: str = ""

    @property
    def identical(self) -> bool:
        """Whether everything was proved: every verdict, and the one decision."""
        proved = all(proof.ok and proof.identical for proof in self.proof.values())
        return bool(self.proof) and proved and self.decision.ok

    def as_json(self) -> bytes:
        """Return all figures as JSON, indented."""
        digests = {
            name: {"live": proof.live_digest, "recomputed": proof.recomputed_digest}
            for name, proof in self.proof.items()
        }
        document: dict[str, Any] = {"identical": self.identical, "digests": digests, **msgspec.to_builtins(self)}
        document["live"]["curve"] = [point._asdict() for point in self.live.curve]
        document["live"]["rates"] = {name: point._asdict() for name, point in self.live.rates.items()}
        return msgspec.json.format(msgspec.json.encode(document), indent=2)
