"""Faults planted into right logs of 5,000 rows: how often is each one found, and how often is a right log accused.

``python -m studies.faults --write`` writes the tables of docs/warnings.md.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from replay.evaluation.health import checks
from replay.evaluation.health.findings import findings
from replay.evaluation.health.state import State
from replay.evaluation.rows import Codes, EvaluationRows, Floats, Hashes
from studies.flag_runs import without_pmf
from studies.page import written

ROWS = 5_000
PAGE = Path(__file__).parents[1] / "docs" / "warnings.md"
CHECKS = {"mean weight": checks.mean_weight, "1 / propensity": checks.inverse_propensity, "draws": checks.draws}


@dataclass(frozen=True, slots=True)
class Log:
    """What a service wrote down, and the target's pmf.

    Attributes
    ----------
    pmf, target
        Shape (rows, actions) each; ``before``: the pmf before exploration was mixed in.
    action, propensity, reward
        Shape (rows,) each.
    """

    pmf: Floats
    before: Floats
    target: Floats
    action: Codes
    propensity: Floats
    reward: Floats


def right_log(chance: np.random.Generator, rows: int = ROWS) -> Log:
    """Return a log without a fault, of a service and a target made at random: 3 to 10 actions, 10 to 30 % explored."""
    actions, contexts = int(chance.integers(3, 11)), 50
    scores = chance.standard_normal((contexts, actions))
    exploration = chance.uniform(0.1, 0.3)
    before = _softmax(chance.uniform(1.0, 3.0) * scores)
    pmf = exploration / actions + (1 - exploration) * before
    target = 0.1 / actions + 0.9 * _softmax(0.7 * scores + chance.standard_normal((contexts, actions)))
    context = chance.integers(0, contexts, size=rows)
    edges = pmf.cumsum(axis=1)[context]
    action = np.minimum((chance.random(rows)[:, None] > edges).sum(axis=1), actions - 1).astype(np.int32)
    rates = chance.uniform(0.02, 0.3, size=(contexts, actions))
    return Log(
        pmf[context],
        before[context],
        target[context],
        action,
        pmf[context, action],
        (chance.random(rows) < rates[context, action]).astype(np.float64),
    )


def _softmax(scores: Floats) -> Floats:
    raised: Floats = np.exp(scores)
    raised /= raised.sum(axis=1, keepdims=True)
    return raised


def none(log: Log, chance: np.random.Generator) -> Log:
    """Plant nothing."""
    return log


def scaled(log: Log, chance: np.random.Generator) -> Log:
    """Log every propensity 5 % too high."""
    return replace(log, propensity=np.minimum(1.05 * log.propensity, 1.0))


def greedy(log: Log, chance: np.random.Generator) -> Log:
    """Log the propensity of the most probable action, whichever was drawn."""
    return replace(log, propensity=log.pmf.max(axis=1))


def unexplored(log: Log, chance: np.random.Generator) -> Log:
    """Log the probabilities from before the exploration was mixed in."""
    return replace(log, pmf=log.before, propensity=log.before[np.arange(len(log.action)), log.action])


def another(log: Log, chance: np.random.Generator) -> Log:
    """Log the propensity of another row."""
    return replace(log, propensity=chance.permutation(log.propensity))


def lost(log: Log, chance: np.random.Generator) -> Log:
    """Lose a quarter of the rows of one action, which had at least 5 % of all."""
    share = np.bincount(log.action, minlength=log.pmf.shape[1]) / len(log.action)
    gone = int(chance.choice(np.flatnonzero(share >= 0.05)))
    kept = ~((log.action == gone) & (chance.random(len(log.action)) < 0.25))
    return Log(*(getattr(log, name)[kept] for name in Log.__slots__))


FAULTS: dict[str, Callable[[Log, np.random.Generator], Log]] = {
    "none": none,
    "propensities scaled by 1.05": scaled,
    "the greedy action's propensity": greedy,
    "probabilities before exploration": unexplored,
    "propensity of another row": another,
    "a quarter of one action's rows lost": lost,
}


def read(log: Log, chance: np.random.Generator) -> EvaluationRows:
    """Return what a reader makes of a log when it believes what stands there."""
    rows, actions = len(log.action), log.pmf.shape[1]
    each = np.arange(rows)
    events: Hashes = chance.integers(0, 2**64, size=rows, dtype=np.uint64)
    return EvaluationRows(
        reward=log.reward,
        propensity=log.propensity,
        target=log.target[each, log.action],
        squared_weight=(log.target**2 / log.pmf).sum(axis=1),
        unseen=np.zeros(rows),
        inverse=np.full(rows, float(actions)),
        squared_inverse=(1 / log.pmf).sum(axis=1),
        action=log.action,
        rank=log.pmf.cumsum(axis=1)[each, log.action] - log.pmf[each, log.action] + log.propensity / 2,
        event_hash=events,
    )


def found(logs: int, seed: int = 0) -> dict[str, dict[str, float]]:
    """Return for each fault how often it was found: by each check alone at 5 %, and by all of them together.

    ``all`` is what :func:`replay.evaluation.health.findings.findings` calls wrong by chance alone; the columns that
    contradict each other, which give most of these faults away without any chance, do not count: ``contradicting`` has
    them.
    """
    table = {}
    for number, (name, plant) in enumerate(FAULTS.items()):
        counts = dict.fromkeys((*CHECKS, "all", "propensities only", "contradicting"), 0)
        for each in range(logs):
            chance = np.random.default_rng([seed, number, each])
            state = State.of(read(plant(right_log(chance), chance), chance))
            for check, p_value in ((check, test(state)) for check, test in CHECKS.items()):
                counts[check] += p_value is not None and p_value < 0.05
            counts["all"] += _by_chance(state)
            counts["propensities only"] += _by_chance(without_pmf(state))
            counts["contradicting"] += state.contradicting > 0
        table[name] = {check: count / logs for check, count in counts.items()}
    return table


def _by_chance(state: State) -> bool:
    return any(each.wrong for each in findings(state) if each.p_value is not None)


def main() -> None:
    """Run the study, and write its table where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=2_000, help="of each fault")
    parser.add_argument("--write", action="store_true", help="write the table into docs/warnings.md")
    arguments = parser.parse_args()
    text = table_of(found(arguments.logs), arguments.logs)
    if arguments.write:
        written(PAGE, "faults", text)
    print(text)  # noqa: T201


def table_of(shares: dict[str, dict[str, float]], logs: int) -> str:
    """Return the table in Markdown."""
    columns = list(next(iter(shares.values())))
    lines = [
        f"Of {logs:,} logs of {ROWS:,} rows each, this share was called wrong; a check alone at 5 %, all by Holm:",
        "",
        f"| planted | {' | '.join(columns)} |",
        f"|---{'|---:' * len(columns)}|",
        *(f"| {name} | {' | '.join(f'{row[check]:.3f}' for check in columns)} |" for name, row in shares.items()),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
