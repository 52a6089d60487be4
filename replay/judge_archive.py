"""Weighs archived outcomes for a policy: how much more often it would have taken what was logged."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from policies.errors import BadInput, LossDetected, StateRefused, WrongConfiguration
from policies.policy import SMALLEST_PROPENSITY
from replay.archive import Archive
from replay.archived_policy import ArchivedPolicy
from replay.evaluate import Chunk, Floats
from rewards.archive_names import Piece
from rewards.learner import catalogue, example_of, outcomes_in
from rewards.records import EXTERNAL

Progress = Callable[[int, int], None]
"""Told how much of how much has been read."""
Flags = NDArray[np.bool_]

_COLUMNS = ("problem", "policy", "policy_version", "offset", "shard", "seq", "revision", "reward", "learn", "why")


class Judge:
    """Weighs the outcomes of one policy in an archive.

    Parameters
    ----------
    target
        What is judged.
    of
        The policy whose outcomes it is judged on; None: the only one of which there are some.
    external
        Judge it on the decisions that another system took, and on no others; without it, on the others alone: two
        logging policies are never mixed.
    """

    def __init__(self, archive: Archive, target: ArchivedPolicy, of: str | None, external: bool = False) -> None:
        self._archive, self._target, self._of, self._external = archive, target, of, external
        # Its probabilities hang on the number of the actions alone, so no outcome has to be decoded.
        self._uniform = target.policy.kind == "uniform"
        self._last_seqs: dict[int, int] = {}
        self._catalogue = catalogue()

    def chunks(self, progress: Progress) -> Iterator[Chunk]:
        """Yield the weighted outcomes in the order of the log, each once.

        Raises
        ------
        WrongConfiguration
            There are outcomes of several policies, and none was named.
        StateRefused
            A file is damaged, or holds what the archive role does not write.
        LossDetected
            Outcomes are missing between others, and who knows which.
        """
        columns = [*_COLUMNS, "propensity", "pmf" if self._uniform else "raw"]
        pieces = self._archive.pieces("rewards")
        begins: dict[int, int] = {}
        for piece in pieces:
            begins.setdefault(piece.file.partition, piece.start)
        total = sum(piece.file.last - piece.start + 1 for piece in pieces)
        passed = 0
        for piece in pieces:
            for batch in self._archive.batches("rewards", columns, [piece]):
                found = _Rows(piece, _counted(batch) if self._uniform else batch)
                yield self._chunk(found, begins[piece.file.partition])
                if batch.num_rows:
                    progress(passed + batch.column("offset")[-1].as_py() - piece.start + 1, total)
            passed += piece.file.last - piece.start + 1

    def _chunk(self, found: "_Rows", begins: int) -> Chunk:
        left_out: Counter[str] = Counter()
        problems = found.batch.column("problem")
        left_out["unreadable"] = len(problems) - problems.null_count
        rows = found.where(pc.is_null(problems)) if left_out["unreadable"] else found
        others = ~rows.flags(pc.equal(rows.whole("policy"), self._whose(rows)))
        rows = rows.where(pa.array(~others)) if others.any() else rows

        def leave_out(reason: str, which: Flags) -> "_Rows":
            left_out[reason] += int(which.sum())
            return rows.where(pa.array(~which)) if which.any() else rows

        rows = leave_out("corrections", rows.numbers("revision") != 0)
        rows = leave_out("repeats", self._repeats(rows, begins))
        for reason in rows.whole("why").unique().to_pylist():
            rows = leave_out(reason, rows.flags(pc.equal(rows.whole("why"), reason)) & ~rows.flags(rows.whole("learn")))
        external = rows.flags(pc.equal(rows.whole("policy_version"), EXTERNAL))
        rows = leave_out("own" if self._external else "external", external != self._external)
        # The learner refuses them too.
        rows = leave_out("refused", rows.between("propensity", 0, 1) < SMALLEST_PROPENSITY)
        probabilities = rows.alike() if self._uniform else self._predicted(rows)
        refused = np.isnan(probabilities)
        rows = leave_out("refused", refused)
        learned = rows.numbers("offset") < self._target.cut if self._of == self._target.learned_from else ()
        return Chunk(
            probabilities[~refused] / rows.numbers("propensity"),
            rows.between("reward", -math.inf, math.inf),
            +left_out,
            int(np.sum(learned)),
        )

    def _whose(self, rows: "_Rows") -> str | None:
        for name in sorted(rows.whole("policy").unique().to_pylist()) if self._of is None else ():
            if self._of is not None:
                raise WrongConfiguration(
                    f"--policy: found none, expected one of those in the archive ({self._of}, {name})"
                )
            self._of = name
        return self._of

    def _repeats(self, rows: "_Rows", begins: int) -> Flags:
        shards, seqs = rows.numbers("shard"), rows.numbers("seq")
        repeats = np.zeros(len(seqs), dtype=np.bool_)
        for shard in np.unique(shards).tolist():
            own = np.flatnonzero(shards == shard)
            # A log that starts above 0 has begun with another seq than 1.
            last = self._last_seqs.get(shard, int(seqs[own[0]]) - 1 if begins else 0)
            before = np.maximum.accumulate(np.concatenate(([last], seqs[own])))
            again = seqs[own] <= before[:-1]
            if (jumps := ~again & (seqs[own] > before[:-1] + 1)).any():
                at = int(np.argmax(jumps))
                raise LossDetected(
                    f"policy {self._of}, shard {shard} in {rows.piece.file.path}",
                    f"seq {seqs[own[at]]}",
                    f"seq {before[at] + 1}",
                    "outcomes are missing before it: bring their file back from a copy",
                )
            repeats[own] = again
            self._last_seqs[shard] = int(before[-1])
        return repeats

    def _predicted(self, rows: "_Rows") -> Floats:
        """Return the probability that the target gives to each logged action; NaN where it refuses the features."""
        raws = rows.whole("raw").to_pylist()
        outcomes, unreadable = outcomes_in(b"[" + b",".join(raws) + b"]")
        if unreadable or len(outcomes) != len(raws):
            raise rows.bad("raw", "what is no outcome", "the outcomes that the other columns tell of")
        probabilities = np.full(len(raws), np.nan)
        for index, outcome in enumerate(outcomes):
            try:
                example = example_of(outcome, self._catalogue)
                probabilities[index] = self._target.policy.predict(example.context, example.actions)[example.chosen]
            except BadInput:
                continue
        return probabilities


def _counted(batch: "pa.RecordBatch") -> "pa.RecordBatch":
    """Put the number of actions in the place of their probabilities: a hundred times less to carry about."""
    index = batch.schema.get_field_index("pmf")
    return batch.set_column(index, "pmf", pc.list_value_length(batch.column("pmf")))


class _Rows:
    """Some rows of a file, whose values are looked at before they are used."""

    def __init__(self, piece: Piece, batch: "pa.RecordBatch") -> None:
        self.piece, self.batch = piece, batch

    def where(self, flags: Any) -> "_Rows":
        """Return some of the rows."""
        return _Rows(self.piece, self.batch.filter(flags))

    def whole(self, name: str) -> Any:
        """Return a column without holes."""
        column = self.batch.column(name)
        if column.null_count:
            raise self.bad(name, "null", "a value")
        return column

    def numbers(self, name: str) -> NDArray[Any]:
        """Return a column of numbers."""
        return np.asarray(self.whole(name).to_numpy(zero_copy_only=False))

    def between(self, name: str, above: float, most: float) -> Floats:
        """Return a column of numbers above one number, and not above the other."""
        values = self.numbers(name)
        right = np.isfinite(values) & (values > above) & (values <= most)
        if not right.all():
            raise self.bad(name, str(values[np.argmin(right)]), f"a number above {above} and up to {most}")
        return values

    def alike(self) -> Floats:
        """Return the probability of an action where all are alike."""
        counts = self.numbers("pmf")
        if not (counts > 0).all():
            raise self.bad("pmf", "no action", "a probability an action")
        return np.asarray(1 / counts, dtype=np.float64)

    def flags(self, column: Any) -> Flags:
        """Return a column of truths."""
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.bool_)

    def bad(self, column: str, found: str, expected: str) -> StateRefused:
        """Return the error for a value that no archive role has written."""
        where = f"{column} in archive file {self.piece.file.path}"
        return StateRefused(where, found, expected, "bring the file back from a copy")
