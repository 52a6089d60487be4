"""How often intervals hold the truth, by simulation: ``python -m studies.coverage --repetitions 2000 --write``."""

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from replay.evaluation.intervals.interval import Analyses, Interval
from replay.evaluation.rows import Floats
from studies.coverage_methods import ANALYSES, METHODS, Method, by_unit
from studies.worlds import WORLDS, World

ROWS = 10_000
SEED = 20_250
REFERENCE = 1
"""The method that widths are compared with: delta of snips."""


@dataclass(frozen=True, slots=True)
class Run:
    """What the methods said of one log.

    Attributes
    ----------
    missed
        Whether the interval missed the truth, of a sequence whether any analysis did: shape (methods,).
    width
        Of the interval, of a sequence at its last analysis; inf where an end is unknown: shape (methods,).
    first_miss
        At which analysis a sequence missed first, and ANALYSES if at none: shape (methods,).
    replaced
        Whether the interval is of another method than was asked for: shape (methods,).
    """

    missed: NDArray[np.bool_]
    width: Floats
    first_miss: NDArray[np.int64]
    replaced: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Cell:
    """A method in a world.

    Attributes
    ----------
    repetitions
        How many logs.
    coverage
        The share of logs whose truth it held, of a sequence at all analyses.
    error
        The Monte Carlo standard error of that.
    relative
        Its width over that of the delta method on the same log: the median.
    bounded
        The share of logs on which both ends were known (of a sequence at the last analysis).
    missed_by
        Of a sequence: per analysis the share of logs on which it had missed by then, shape (analyses,).
    replaced
        The share of logs on which another method stood in, since this one said that it was not to be trusted.
    """

    method: Method
    world: World
    repetitions: int
    coverage: float
    error: float
    relative: float
    bounded: float
    missed_by: Floats
    replaced: float = 0.0

    @property
    def supported(self) -> bool:
        """Whether what the method assumes holds in the world."""
        return self.world.name not in self.method.assumes_not


def one_run(world: World, methods: Sequence[Method], rows: int, seed: Sequence[int]) -> Run:
    """Return what the methods say of one log of a world."""
    log = world.simulate(np.random.default_rng(list(seed)), rows)
    missed, width = np.zeros(len(methods), dtype=np.bool_), np.empty(len(methods))
    first_miss, replaced = np.full(len(methods), ANALYSES), np.zeros(len(methods), dtype=np.bool_)
    sequences: dict[str, Analyses] = {}
    for number, method in enumerate(methods):
        found = by_unit(log, sequences[method.widens]) if method.widens in sequences else method.run(world, log)
        if isinstance(found, Analyses):
            sequences[method.name] = found
            truths = world.expected(rows).cumsum()[found.rows - 1] / found.rows
            wrong = np.flatnonzero(~found.holds(truths))
            missed[number], width[number] = len(wrong) > 0, found.high[-1] - found.low[-1]
            first_miss[number] = wrong[0] if len(wrong) else ANALYSES
        else:
            truth = world.truth - world.logged if method.against_logged else world.truth
            missed[number], width[number] = not found.holds(truth), _width(found)
            replaced[number] = bool(found.note)
    return Run(missed, width, first_miss, replaced)


def _width(interval: Interval) -> float:
    return math.inf if interval.width is None else interval.width


def study(
    repetitions: int,
    *,
    worlds: Sequence[World] = WORLDS,
    methods: Sequence[Method] = METHODS,
    rows: int = ROWS,
    seed: int = SEED,
    processes: int = 1,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Cell]:
    """Return every method in every world, each on the same logs."""
    cells: list[Cell] = []
    for number, world in enumerate(worlds):
        began = time.monotonic()
        runs = _runs(world, methods, rows, [(seed, number, each) for each in range(repetitions)], processes)
        cells += [_cell(method, place, world, runs) for place, method in enumerate(methods)]
        progress(f"{world.name}: {repetitions} logs of {rows} rows in {time.monotonic() - began:.0f} s")
    return cells


def _runs(
    world: World, methods: Sequence[Method], rows: int, seeds: Sequence[Sequence[int]], processes: int
) -> list[Run]:
    if processes == 1:
        return [one_run(world, methods, rows, seed) for seed in seeds]
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(partial(_one_of_all, world.name, rows), seeds, chunksize=20))


def _one_of_all(name: str, rows: int, seed: Sequence[int]) -> Run:
    return one_run(next(world for world in WORLDS if world.name == name), METHODS, rows, seed)


def _cell(method: Method, place: int, world: World, runs: Sequence[Run]) -> Cell:
    missed = np.array([run.missed[place] for run in runs])
    width = np.array([run.width[place] for run in runs])
    reference = np.array([run.width[min(REFERENCE, len(run.width) - 1)] for run in runs])
    first = np.array([run.first_miss[place] for run in runs])
    coverage = 1 - float(missed.mean())
    # Agresti and Coull's: a share of 0 or 1 has an error, too.
    about = (len(runs) * coverage + 2) / (len(runs) + 4)
    bounded = np.isfinite(width)
    return Cell(
        method,
        world,
        len(runs),
        coverage,
        math.sqrt(about * (1 - about) / (len(runs) + 4)),
        float(np.median((width / reference)[bounded])) if bounded.any() else math.inf,
        float(bounded.mean()),
        (first[:, None] <= np.arange(ANALYSES)).mean(axis=0),
        float(np.mean([run.replaced[place] for run in runs])),
    )


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


def main(arguments: Sequence[str]) -> None:
    """Run the study, and print or write its page."""
    parser = argparse.ArgumentParser(prog="python -m studies.coverage", description=__doc__)
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write docs/coverage.md and its pictures")
    options = parser.parse_args(arguments)
    cells = study(
        options.repetitions,
        processes=options.processes,
        progress=_say,
    )
    # Drawing takes an extra that the study does without.
    from studies.coverage_page import page, write

    if options.write:
        write(cells)
    else:
        sys.stdout.write(page(cells))


if __name__ == "__main__":
    main(sys.argv[1:])
