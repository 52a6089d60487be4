"""A reward model by Vowpal Wabbit: a regression on the text that the policies write."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pylibvw

from policies.bounded_cache import BoundedCache
from policies.features import Action, Features
from policies.vw.policy import BUILD, as_file, refused_by_vw, saved
from policies.vw.text import Writer, escape, number_text
from records.errors import WrongConfiguration
from replay.evaluation.models.model import Predicts, RewardModel
from replay.evaluation.models.rows import ModelRows
from replay.evaluation.rows import Floats

_SHARED = "shared "
_ALWAYS = ("--hash=all", "--quiet", "--no_stdin", "--preserve_performance_counters", "--ring_size=16")


class VowpalWabbit(RewardModel):
    """Least squares by Vowpal Wabbit, online, over all features of context and action, all their pairs, and the id.

    No text of the log reaches Vowpal Wabbit but through :class:`policies.vw.text.Writer`.

    Parameters
    ----------
    bits
        Weights are 2^bits, from 1 to 28 bits.
    learning_rate
        As Vowpal Wabbit has it.

    References
    ----------
    Ross, Mineiro, Langford (2013). *Normalized Online Learning.* UAI: the update, which needs no scaling.
    """

    name = "vw"

    def __init__(self, bits: int = 18, learning_rate: float = 0.5) -> None:
        super().__init__()
        if not 1 <= bits <= 28:
            raise WrongConfiguration(f"bits of the reward model vw: found {bits}, expected 1 to 28")
        if not (learning_rate > 0 and math.isfinite(learning_rate)):
            raise WrongConfiguration(f"learning_rate of the reward model vw: found {learning_rate}, expected above 0")
        self._bits = bits
        self._command = (*_ALWAYS, "--quadratic=::", f"--bit_precision={bits}", f"--learning_rate={learning_rate}")
        self._lines = _Lines()
        self._learner = pylibvw.vw(list(self._command))

    @property
    def text(self) -> str:
        """The model in a few words, with Vowpal Wabbit's version."""
        return f"least squares on 2^{self._bits} weights, Vowpal Wabbit {BUILD}"

    def _learn(self, rows: ModelRows) -> None:
        # All are written before the first is learned: what is refused leaves the model as it was.
        lines = list(self._lines.of(rows, rows.logged.tolist()))
        for line, reward in zip(lines, rows.reward.tolist(), strict=True):
            example = _parsed(self._learner, f"{number_text(reward)} {line}")
            self._learner.learn(example)
            self._learner._finish_example(example)

    def _fit(self) -> Predicts:
        # What predicts is made of the saved bytes, since a predict moves counters that are saved.
        return _Predicts(saved(self._learner))


class _Predicts:
    def __init__(self, model: bytes) -> None:
        self._model = model
        self._workspace: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {"_model": self._model, "_workspace": None}

    def __call__(self, rows: ModelRows) -> Floats:
        if self._workspace is None:
            with as_file(self._model) as path:
                self._workspace = pylibvw.vw([*_ALWAYS, f"--initial_regressor={path}"])
        workspace = self._workspace
        predicted = np.empty(len(rows.action))
        for entry, line in enumerate(_Lines().of(rows, range(len(predicted)))):
            example = _parsed(workspace, line)
            workspace.predict(example)
            predicted[entry] = example.get_simplelabel_prediction()
            workspace._finish_example(example)
        return predicted


class _Lines:
    """Writes entries as examples without a label: the context's features and the action's in one line.

    All namespaces of a context are merged into one, and so are those of an action.
    """

    def __init__(self) -> None:
        self._writer = Writer(id_as_feature=True)
        self._action: BoundedCache[Action, Action] = BoundedCache(
            lambda action: Action(action.id, _in_one(action.features, "a")),
            lambda action, written: 64 * sum(map(len, action.features.values())),
            10_000,
            16 * 2**20,
        )

    def of(self, rows: ModelRows, entries: Sequence[int]) -> Iterator[str]:
        """Yield the entries' lines; those of a row stand together."""
        row, code, last, shared = rows.row.tolist(), rows.action.tolist(), -1, ""
        for entry in entries:
            action = self._action(rows.catalogue[code[entry]])
            if row[entry] != last:
                last = row[entry]
                context = {} if rows.contexts is None else _in_one(rows.contexts[last], "c")
                shared, line = self._writer.example(context, [action]).split("\n")
            else:
                line = self._writer.example({}, [action]).split("\n")[1]
            yield f"{shared.removeprefix(_SHARED)} {line}"


def _in_one(features: Features, namespace: str) -> Features:
    """Return features of one namespace, each named by its own and a dot, which no own one holds unescaped."""
    found = {
        f"{escape(own).replace('.', '%2E')}.{name}": value
        for own, inside in features.items()
        for name, value in inside.items()
    }
    return {namespace: found} if found else {}


def _parsed(workspace: Any, text: str) -> Any:
    try:
        (example,) = workspace._parse(text)
    except (RuntimeError, ValueError) as error:
        raise refused_by_vw() from error
    return example
