"""Loads published models in a thread of its own, so that requests are decided meanwhile.

Vowpal Wabbit holds the interpreter's lock while it makes a workspace: nothing can be decided for that long (see
`docs/operate-policies.md`). Everything else lets the loop turn: checking the digest, copying the bytes, the first
prediction, and closing the version that was in use.
"""

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor

from policies.controls import draws_uniformly
from policies.features import Action
from policies.policy import Policy, digest
from policies.policy_store import repair
from policies.question import Question
from policies.registry import make
from records.errors import BadInput, StateRefused
from stream.redis.policy_store import Published

WARM_UP = Question({"warm": {"up": 1.0}}, (Action("warm", {"up": {"x": 1.0}}), Action("up", {})))
"""The first prediction of a workspace takes about ten times as long as the second."""


class ModelLoader:
    """Loads and closes policies, one after the other."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="models")

    async def load(self, name: str, published: Published) -> Policy:
        """Return the policy of a published version, after its first prediction.

        Raises
        ------
        StateRefused
            The bytes are not those that the record names, or cannot be loaded.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, _loaded, name, published)

    def close(self, policy: Policy) -> None:
        """Close a policy that is not in use any more."""
        self._thread.submit(policy.close)


def _loaded(name: str, published: Published) -> Policy:
    record = published.record
    if (found := digest(published.model)) != record.digest:
        raise StateRefused(
            f"policy {name} in Redis",
            f"bytes with the digest {found[:8]}",
            record.digest[:8],
            f"the learner publishes again within its cadence; if not, {repair(name)}",
        )
    if draws_uniformly(record):
        return make("uniform", "")
    try:
        policy = make(record.kind, record.arguments, published.model)
    except StateRefused as refused:
        raise refused.of_policy(name) from refused
    # Where the weights are spoilt, each request that they cannot decide says so.
    with contextlib.suppress(BadInput, StateRefused):
        policy.predict(WARM_UP)
    return policy
