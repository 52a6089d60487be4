"""Writes the shapes of tails by arviz-stats that ours must equal; it needs arviz-stats 0.8, and nothing of ours.

``python studies/pareto_fixture.py > tests/replay/evaluation/health/pareto_k.json``
"""

import importlib
import json
import sys
from importlib.metadata import version
from typing import Any

import numpy as np

CASES = [(rows, power) for rows in (30, 100, 225, 1_000, 4_000, 20_000) for power in (0.05, 0.3, 0.7, 1.0, 1.6)]


def weights(rows: int, power: float) -> Any:
    """Return weights with a Pareto tail, mixed by a multiplication; no random number is needed."""
    place = (np.arange(1, rows + 1) * 7_919) % rows
    return ((place + 0.5) / rows) ** -power


def main() -> None:
    """Print the fixture."""
    khat = importlib.import_module("arviz_stats.base.array").array_stats._pareto_khat
    found = [
        {"rows": rows, "power": power, "k": float(khat(weights(rows, power), r_eff=1.0, tail="right")[1])}
        for rows, power in CASES
    ]
    made_by = {name: version(name) for name in ("arviz-stats", "numpy")}
    json.dump({"made_by": made_by, "cases": found}, sys.stdout, indent=1)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
