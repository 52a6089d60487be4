"""Loads published models in a thread of its own, so that requests are decided meanwhile.

Vowpal Wabbit holds the interpreter's lock while it makes a workspace: nothing can be decided for that long (see
`docs/operate-policies.md`). Everything else lets the loop turn: checking the digest, copying the bytes, the first
prediction, and closing the version that was in use.
"""

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor

from policies.assemble import deciding
from policies.features import Action
from policies.policy import Policy, digest
from policies.policy_store import repair
from policies.question import Question
from policies.registry import make
from records.errors import BadInput, StateRefused
from stream.redis.policy_store import Published

WARM_UP = Question({"warm": {"up": 1.0}}, (Action("warm", {"up": {"x": 1.0}}), Action("up", {})))
"""The first prediction of a workspace takes about ten times as long as the second."""
LOADING_SHARE = 0.02
"""At most this share of the time goes to loading: the larger a model, the more versions are passed over."""
MOST_PAUSE_S = 5.0
"""A model is not held back for longer, however long it takes to load."""


class ModelLoader:
    """Loads and closes policies, one after the other."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="models")
        self._pause_ends = 0.0

    @property
    def pause_s(self) -> float:
        """How long to wait before the next load; 0: it may begin."""
        return max(0.0, self._pause_ends - time.monotonic())

    async def load(self, name: str, published: Published) -> Policy:
        """Return the policy of a published version, after its first prediction.

        Raises
        ------
        StateRefused
            The bytes are not those that the record names, or cannot be loaded.
        """
        loop = asyncio.get_running_loop()
        policy, cpu_s = await loop.run_in_executor(self._thread, _timed, name, published)
        self._pause_ends = time.monotonic() + min(cpu_s / LOADING_SHARE, MOST_PAUSE_S)
        return policy

    def close(self, policy: Policy) -> None:
        """Close a policy that is not in use any more."""
        self._thread.submit(policy.close)


def _timed(name: str, published: Published) -> tuple[Policy, float]:
    """Return the policy, and the CPU seconds that it took: on a busy machine the wall time says little."""
    began = time.thread_time()
    policy = _loaded(name, published)
    return policy, time.thread_time() - began


def _loaded(name: str, published: Published) -> Policy:
    record = published.record
    if (found := digest(published.model)) != record.digest:
        raise StateRefused(
            f"policy {name} in Redis",
            f"bytes with the digest {found[:8]}",
            record.digest[:8],
            f"the learner publishes again within its cadence; if not, {repair(name)}",
        )
    try:
        policy = deciding(record, lambda: make(record.kind, record.arguments, published.model))
    except StateRefused as refused:
        raise refused.of_policy(name) from refused
    # Where the weights are spoilt, each request that they cannot decide says so.
    with contextlib.suppress(BadInput, StateRefused):
        policy.predict(WARM_UP)
    return policy
