"""Does the warning warn? Calibrated on 300 random worlds, tested on 300 of another family whose truth is known too.

``python -m studies.flags --write`` simulates, and writes the tables and plots of docs/warnings.md; with ``--fit`` the
scores in ``replay/evaluation/health/scores.json`` are fitted anew before. ``--keep FOLDER`` keeps the runs, or uses
kept ones.
"""

import argparse
import itertools
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from replay.evaluation.health.verdict import score_from, score_of
from replay.evaluation.rows import Flags
from studies import flag_plots
from studies.flag_fit import BAD, GOOD, fit, kinds, kinds_as_shown
from studies.flag_record import coverage_in, record
from studies.flag_runs import FAMILIES, Runs, run
from studies.flagged import SETS, area, rivals, told
from studies.page import written

DOCS = Path(__file__).parents[1] / "docs"
SCORES = Path(__file__).parents[1] / "replay" / "evaluation" / "health" / "scores.json"
RECORD = Path(__file__).parents[1] / "tests" / "studies" / "flags.json"
WORLDS = {"A": 300, "B": 300}


def tables(runs: dict[str, Runs]) -> str:
    """Return all tables in Markdown."""
    return "\n\n".join([_sizes(runs), _ours(runs), _as_shown(runs), _theirs(runs["B"]), _zones(runs["B"])])


def _sizes(runs: dict[str, Runs]) -> str:
    lines = [
        "| family | worlds | logs of each | bad for ips, snips, dr | good | right logs accused | propensities only |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, each in runs.items():
        of = [kinds(each, family) for family in FAMILIES]
        bad, good = (", ".join(str(int(kind[place].sum())) for kind in of) for place in (0, 1))
        accused = " | ".join(f"{share:.3f}" for share in each.wrong.mean(axis=(0, 1)))
        lines.append(f"| {name} | {each.covers.shape[0]} | {each.covers.shape[1]} | {bad} | {good} | {accused} |")
    return "\n".join(lines)


def _ours(runs: dict[str, Runs]) -> str:
    lines = [
        "| family | log has | estimator | bad flagged | good flagged | bad *not reliable* | good *not reliable* | AUC "
        "| called reliable | of these covered | as shown |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, each in runs.items():
        for kind, has in (("whole", "whole pmfs"), ("bare", "propensities")):
            for family in FAMILIES:
                found = told(each, family, kind, score_of(family, whole=kind == "whole"))
                place, trusted = FAMILIES.index(family), ~found.flagged
                numbers = [
                    found.flagged[found.bad].mean(),
                    found.flagged[found.good].mean(),
                    found.refused[found.bad].mean(),
                    found.refused[found.good].mean(),
                    area(found),
                    trusted.mean(),
                    each.covers[..., place][trusted].mean(),
                    each.covers_shown[..., place][trusted].mean(),
                ]
                lines.append(f"| {name} | {has} | {family} | {' | '.join(f'{value:.3f}' for value in numbers)} |")
    return "\n".join(lines)


def _as_shown(runs: dict[str, Runs]) -> str:
    """Return what is flagged where the shown interval, and not the normal one, says which worlds are bad and good."""
    lines = [
        "| by the interval as shown | log has | estimator | bad worlds | flagged | good worlds | flagged |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    for name, each in runs.items():
        for kind, has in (("whole", "whole pmfs"), ("bare", "propensities")):
            for family in FAMILIES:
                flagged = told(each, family, kind, score_of(family, whole=kind == "whole")).flagged
                cells = [f"{which.sum()} | {flagged[which].mean():.3f}" for which in kinds_as_shown(each, family)]
                lines.append(f"| {name} | {has} | {family} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _theirs(runs: Runs) -> str:
    lines = ["| rule, on family B | bad flagged: ips | snips | dr | good flagged: ips | snips | dr |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    rules: list[tuple[str, list[Flags]]] = [(name, [each] * len(FAMILIES)) for name, each in rivals(runs).items()]
    for kind, has in (("whole", "with whole pmfs"), ("bare", "with propensities only")):
        of = [told(runs, family, kind, score_of(family, whole=kind == "whole")).flagged for family in FAMILIES]
        rules.append((f"**Bowerbird, {has}**", of))
    for name, flagged in rules:
        numbers = [
            each[kinds(runs, family)[place]].mean()
            for place in (0, 1)
            for each, family in zip(flagged, FAMILIES, strict=True)
        ]
        lines.append(f"| {name} | {' | '.join(f'{value:.3f}' for value in numbers)} |")
    return "\n".join(lines)


def _zones(runs: Runs) -> str:
    """Return how the levels fall by what the interval truly covers: the grey zone between bad and good."""
    edges = [0.0, 0.5, 0.7, BAD, 0.88, GOOD, 1.01]
    lines = ["| on family B, true coverage | worlds | reliable | use with care | not reliable |"]
    lines.append("|---|---:|---:|---:|---:|")
    found = [told(runs, family, "whole", score_of(family, whole=True)) for family in FAMILIES]
    coverage = runs.coverage
    for low, high in itertools.pairwise(edges):
        within = [(coverage[:, place] >= low) & (coverage[:, place] < high) for place in range(len(FAMILIES))]
        flagged = np.concatenate([each.flagged[which].ravel() for each, which in zip(found, within, strict=True)])
        refused = np.concatenate([each.refused[which].ravel() for each, which in zip(found, within, strict=True)])
        if flagged.size:
            shares = (1 - flagged.mean(), flagged.mean() - refused.mean(), refused.mean())
            count = int(sum(which.sum() for which in within))
            name = f"{100 * low:.0f} to {min(100 * high, 100):.0f} %"
            lines.append(f"| {name} | {count} | {' | '.join(f'{share:.3f}' for share in shares)} |")
    return "\n".join(lines)


def fitted(runs: Runs) -> dict[str, object]:
    """Return the scores of all families of estimators, as they are stored."""
    scores = {
        family: {kind: fit(runs, family, SETS[kind], runs.wrong[:, :, place]) for place, kind in enumerate(SETS)}
        for family in FAMILIES
    }
    for each in scores.values():
        for kind in SETS:
            score_from(each[kind], whole=kind == "whole")
    worlds, logs = runs.covers.shape[:2]
    return {"made_by": f"python -m studies.flags --fit: family A, {worlds} worlds, {logs} logs each", "scores": scores}


def simulated(name: str, worlds: int, logs: int, more: int, keep: Path | None, processes: int | None = None) -> Runs:
    """Return the runs of a family, kept ones if there are any."""
    stored = None if keep is None else keep / f"{name}-{worlds}-{logs}-{more}.npz"
    if stored is not None and stored.exists():
        return Runs.load(stored)
    with ProcessPoolExecutor(processes) as pool:
        made = run(name, worlds, logs, more, lambda number: _progress(name, number, worlds), pool.map)
    if stored is not None:
        made.save(stored)
    return made


def _progress(name: str, number: int, worlds: int) -> None:
    if number % 20 == 0:
        sys.stderr.write(f"family {name}: world {number} of {worlds}\n")


def main() -> None:
    """Run the study, and write its page where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--logs", type=int, default=300, help="of each world")
    parser.add_argument(
        "--more", type=int, default=700, help="further logs, by which to tell bad worlds from good ones"
    )
    parser.add_argument("--processes", type=int, help="how many share the work; default: one per core")
    parser.add_argument(
        "--again", action="store_true", help="flag logs of B alone; which worlds are bad is taken from the record"
    )
    parser.add_argument("--keep", type=Path, help="a folder for the runs")
    parser.add_argument("--fit", action="store_true", help="fit the scores to family A before")
    parser.add_argument("--write", action="store_true", help="write tables and plots into docs")
    arguments = parser.parse_args()
    how = {"keep": arguments.keep, "processes": arguments.processes}
    if arguments.again:
        found = replace(simulated("B", WORLDS["B"], arguments.logs, 0, **how), coverage=coverage_in(RECORD))
        text = "\n\n".join([_ours({"B": found}), _zones(found)])
        if arguments.write:
            written(DOCS / "warnings.md", "flags again", text)
            record(found, RECORD)
        print(text)  # noqa: T201
        return
    runs = {name: simulated(name, worlds, arguments.logs, arguments.more, **how) for name, worlds in WORLDS.items()}
    if arguments.fit:
        SCORES.write_text(json.dumps(fitted(runs["A"]), indent=1) + "\n")
    text = tables(runs)
    if arguments.write:
        written(DOCS / "warnings.md", "flags", text)
        flag_plots.draw(runs["B"], DOCS)
        record(runs["B"], RECORD)
    print(text)  # noqa: T201


if __name__ == "__main__":
    main()
