"""Vowpal Wabbit over its fast path: one text and one crossing into C++ a decision.

Two workspaces, each made when first needed: one learns, the other predicts. A predict moves counters that are saved,
so the workspace that is saved never predicts. The one that predicts is made of the saved bytes, since some explorers
(bag, cover, rnd) keep state that is not saved: what predicts is then what anyone gets who loads the version.
"""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

import pylibvw

from policies.draw import normalise
from policies.features import Action, Features
from policies.question import Pmf
from policies.single_action import SingleAction
from policies.vw import crossing
from policies.vw.arguments import ALWAYS, MODE, parse
from policies.vw.generated import Bound
from policies.vw.text import Writer
from records.errors import BadInput, StateRefused, WrongConfiguration

BUILD: str = pylibvw.__version__
"""The build of Vowpal Wabbit. Weights are the same bytes only on one build and one kind of processor."""

EXAMPLES = tuple(
    f"--cb_explore_adf {explorer}"
    for explorer in (
        "--epsilon 0.1 -q fF",
        "--softmax --lambda 2",
        "--squarecb -q uA",
        "--bag 3",
        "--cover 3",
        "--rnd 2",
        "--regcb",
        "--first 5",
        "--synthcover",
        "--epsilon_decay",
        "--bag 2 --random_seed 7",
        "--cb_type dr",
        "--id_as_feature --letter url=x -q x_",
    )
)
"""Arguments with which the laws of every policy are checked."""

_KEPT_EXAMPLES = 10_000
_KEPT_CHARACTERS = 2**26
_VW = pylibvw.vw


class VowpalWabbit(SingleAction):
    """A Vowpal Wabbit contextual bandit with action dependent features.

    Parameters
    ----------
    arguments
        See :mod:`policies.vw.arguments`.
    model
        What :meth:`dump` returned, by the same arguments; None: version 0.

    Raises
    ------
    WrongConfiguration
        The arguments are refused, here or by Vowpal Wabbit.
    StateRefused
        Vowpal Wabbit cannot load the model.

    References
    ----------
    Bietti, Agarwal, Langford (2021). *A Contextual Bandit Bake-off.* Journal of Machine Learning Research 22.
    """

    kind = "vw"

    def __init__(self, arguments: str, model: bytes | None = None) -> None:
        super().__init__()
        self.arguments = arguments
        parsed = parse(arguments)
        self._command = parsed.command
        self._bound = Bound(parsed)
        self._writer = _writer(arguments)
        self._learned: list[str] = []
        self._kept = 0
        self._learner: pylibvw.vw | None = None
        self._predictor: pylibvw.vw | None = None
        self._model = self._version_0() if model is None else model
        # Loaded at once, so that what cannot be loaded is refused here; version 0 too, so that it makes no difference
        # whether a learner computed it or was given its bytes.
        self._unused: pylibvw.vw | None = self._load(self._model)

    def pmf(self, context: Features, actions: Sequence[Action]) -> Pmf:
        """Return the pmf in the order of the actions, clipped and scaled to sum to 1."""
        text = self._writer.example(context, actions)
        self._bound.check(text)
        workspace = self._predicting()
        try:
            scores = crossing.scores(workspace, text)
        except Exception as error:
            self._predictor = None
            workspace.finish()
            raise refused_by_vw() from error
        if len(scores) != len(actions):
            raise StateRefused(
                "pmf of Vowpal Wabbit",
                f"{len(scores)} probabilities for {len(actions)} actions",
                "one an action",
                "choose other arguments for the policy; `bowerbird check` tries them",
            )
        return normalise(scores)

    def learn_action(
        self, context: Features, actions: Sequence[Action], chosen: int, propensity: float, reward: float
    ) -> None:
        """Learn one example; after an error the policy is as it was before."""
        text = self._writer.labelled(context, actions, chosen, propensity, 0.0 - reward)
        self._bound.check(text)
        workspace = self._learner or self._learning()
        try:
            crossing.learn(workspace, text)
        except Exception as error:
            # What was learned since the last saved bytes is learned again by a new workspace.
            self._learner = None
            workspace.finish()
            raise refused_by_vw() from error
        self._learned.append(text)
        self._kept += len(text)
        if self._predictor is not None:
            self._predictor.finish()
            self._predictor = None
        if len(self._learned) >= _KEPT_EXAMPLES or self._kept >= _KEPT_CHARACTERS:
            self.dump()

    def dump(self) -> bytes:
        """Return the model's bytes, as Vowpal Wabbit saves them."""
        if self._learned:
            self._model = saved(self._learner or self._learning())
            self._learned.clear()
            self._kept = 0
        return self._model

    def close(self) -> None:
        """Close the workspaces."""
        for workspace in (self._learner, self._predictor, self._unused):
            if workspace is not None:
                workspace.finish()
        self._learner = self._predictor = self._unused = None

    def _learning(self) -> pylibvw.vw:
        workspace = self._saved_state()
        for text in self._learned:
            crossing.learn(workspace, text)
        self._learner = workspace
        return workspace

    def _predicting(self) -> pylibvw.vw:
        if self._predictor is None:
            self.dump()
            self._predictor = self._saved_state()
        return self._predictor

    def _saved_state(self) -> pylibvw.vw:
        """Return a workspace of the bytes saved last, that nobody else uses."""
        workspace, self._unused = self._unused, None
        return self._load(self._model) if workspace is None else workspace

    def _version_0(self) -> bytes:
        try:
            workspace = _VW(list(self._command))
        except (RuntimeError, ValueError, MemoryError) as error:
            raise WrongConfiguration(f"arguments of a vw policy: {_refused(self._command)}") from error
        model = saved(workspace)
        workspace.finish()
        return model

    def _load(self, model: bytes) -> pylibvw.vw:
        command = self._command
        if b"--random_seed" in model:
            # Bag, cover and others save the state of their random numbers as a seed, which then is the one that counts.
            command = tuple(part for part in command if not part.startswith("--random_seed="))
        with as_file(model) as path:
            try:
                return _VW([*command, f"--initial_regressor={path}"])
            except (RuntimeError, ValueError, MemoryError) as error:
                raise StateRefused(
                    "model of Vowpal Wabbit",
                    f"{len(model)} bytes that cannot be loaded",
                    f"one that was saved by the arguments {self.arguments!r}",
                    "compute it again from the log: run `bowerbird policy rebuild NAME`",
                ) from error


@lru_cache(maxsize=8)
def _writer(arguments: str) -> Writer:
    """Return the writer of a policy, kept since a learner makes its policy again after each publish."""
    parsed = parse(arguments)
    return Writer(parsed.letters, parsed.id_as_feature)


def refused_by_vw() -> BadInput:
    """Return the error for an example that Vowpal Wabbit refuses."""
    return BadInput("refused_by_vw", "features", "what Vowpal Wabbit refuses", "features that it can read")


def _refused(command: Sequence[str]) -> str:
    """Return which argument Vowpal Wabbit refuses: one that it refuses alone, or with the others."""
    own = [token for token in command if token != MODE and token not in ALWAYS]
    alone = next((token for token in own if not _accepted([MODE, token, *ALWAYS])), None)
    if alone is not None:
        return f"Vowpal Wabbit refuses {alone!r}"
    for token in own:
        if _accepted([each for each in command if each != token]):
            others = [each for each in own if each != token]
            return f"Vowpal Wabbit refuses {token!r} together with {' '.join(others)!r}"
    return f"Vowpal Wabbit refuses {' '.join(own)!r} together"


def _accepted(command: Sequence[str]) -> bool:
    try:
        _VW(list(command)).finish()
    except (RuntimeError, ValueError, MemoryError):
        return False
    return True


def saved(workspace: pylibvw.vw) -> bytes:
    """Return a model as Vowpal Wabbit saves it."""
    # Vowpal Wabbit saves to files only; one in memory costs no disk.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="bowerbird-", dir=memory) as folder:
        path = Path(folder, "model")
        workspace.save(str(path))
        return path.read_bytes()


@contextmanager
def as_file(model: bytes) -> Iterator[str]:
    """Give bytes a path for as long as they are loaded."""
    if hasattr(os, "memfd_create"):
        number = os.memfd_create("model")
        try:
            with open(number, "wb", closefd=False) as file:
                file.write(model)
            yield f"/proc/self/fd/{number}"
        finally:
            os.close(number)
    else:
        with tempfile.NamedTemporaryFile(prefix="bowerbird-") as file:
            file.write(model)
            file.flush()
            yield file.name
