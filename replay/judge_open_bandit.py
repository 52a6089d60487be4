"""Weighs the rows of an Open Bandit log for a policy whose probabilities hang on nothing but item and position."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap

from policies.errors import WrongConfiguration
from replay.evaluate import Chunk, Floats
from replay.open_bandit_columns import Log, Progress
from rewards.records import PMF_TOLERANCE

TARGET_BYTES = 64 * 2**20
"""A larger file is no target, but a mistake."""


def read_target(path: Path) -> Floats:
    """Return a policy from a ``.npy`` file: probabilities of shape (actions, positions), each column with the sum 1.

    Raises
    ------
    WrongConfiguration
        The file holds something else.
    """

    def wrong(found: str, expected: str) -> WrongConfiguration:
        return WrongConfiguration(f"--target {path}: found {found}, expected {expected}")

    if not path.is_file():
        raise wrong("no such file", "uniform, or a .npy of shape (actions, positions)")
    if (size := path.stat().st_size) > TARGET_BYTES:
        raise wrong(f"{size} bytes", f"at most {TARGET_BYTES}")
    try:
        # Mapped, so that a header cannot ask for more memory than the file has; what it maps is never unpickled.
        mapped = open_memmap(path, mode="r")
    except (ValueError, OSError, EOFError, SyntaxError, OverflowError, MemoryError, TypeError) as error:
        raise wrong(f"what is no array ({str(error).splitlines()[0]})", "a .npy of numbers") from None
    if mapped.dtype.kind not in "fiu" or mapped.ndim != 2 or not mapped.size:
        raise wrong(f"{mapped.dtype} of shape {mapped.shape}", "numbers of shape (actions, positions)")
    target = np.array(mapped, dtype=np.float64)
    if not (target >= 0).all():
        action, position = (int(index) for index in np.argwhere(~(target >= 0))[0])
        raise wrong(f"{target[action, position]} for action {action}, column {position}", "probabilities from 0 to 1")
    sums = target.sum(axis=0)
    if not (np.abs(sums - 1) <= PMF_TOLERANCE).all():
        column = int(np.argmax(~(np.abs(sums - 1) <= PMF_TOLERANCE)))
        raise wrong(f"the sum {sums[column]:.9g} in column {column}", "columns (one a position) with the sum 1")
    return target


def judge_open_bandit(log: Log, target: Floats | None, progress: Progress) -> Iterator[Chunk]:
    """Yield the weights and clicks of a log.

    Parameters
    ----------
    target
        Of shape (actions, positions); None: every item alike.

    Raises
    ------
    WrongConfiguration
        The target is for another number of items.
    BadInput
        The log is damaged, or has a position that the target does not know.
    """
    if target is not None and len(target) != log.items:
        raise WrongConfiguration(
            f"--target: found {len(target)} actions, expected {log.items}: one for each item of {log.path.name}"
        )
    for shown in log.read(progress):
        if target is None:
            probabilities: Floats | float = 1 / log.items
        else:
            known = shown.positions <= target.shape[1]
            if not known.all():
                row = int(np.argmin(known))
                expected = f"1 to {target.shape[1]}, for the target has as many columns"
                raise log.bad(shown.line + row, "position", shown.positions[row], expected)
            probabilities = target[shown.item_ids, shown.positions - 1]
        yield Chunk(probabilities / shown.propensities, shown.clicks.astype(np.float64))
