"""A published model is loaded beside the loop: requests are decided by the version in use until the new one is warm."""

import asyncio
import threading
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from policies.features import Action
from policies.policy import digest, version_name
from policies.question import Question
from policies.registry import make
from records.codec import encode
from records.errors import StateRefused
from records.policy_version import PolicyVersion
from stream.config import Config
from stream.redis import model_loader
from stream.redis.model_loader import ModelLoader
from stream.redis.policy_cache import PolicyCache
from stream.redis.policy_store import Published
from tests.serving import served, tables

ARGUMENTS = "--cb_explore_adf --epsilon 0.2"
PATIENCE_S = 10.0
QUESTION = Question({}, (Action("a", {}), Action("b", {})))


def published(model: bytes, **changes: Any) -> Published:
    record: dict[str, Any] = {
        "policy": "front",
        "placements": ["front"],
        "number": 1,
        "version": version_name(1, digest(model)),
        "kind": "vw",
        "arguments": ARGUMENTS,
        "salt": "front",
        "cut": 1,
        "last_seqs": {},
        "digest": digest(model),
        "examples": 1,
    }
    return Published(PolicyVersion(**(record | changes)), model)


class OneVersion:
    """Answers what decide asks Redis of a policy."""

    def __init__(self, version: Published) -> None:
        self._fields = [encode(version.record), version.model]
        self.pending_asked = asyncio.Event()

    async def hget(self, key: str, name: str) -> bytes:
        return self._fields[0]

    async def hgetall(self, key: str) -> dict[bytes, bytes]:
        self.pending_asked.set()
        return {}

    def pubsub(self) -> None:
        raise RedisError("no news")

    async def hmget(self, key: str, names: list[str]) -> list[bytes]:
        return self._fields


class Policy:
    """Notes in which threads it was made, asked and closed; making it waits until the loop has turned."""

    def __init__(self, turned: threading.Event) -> None:
        self.threads = {"made": threading.current_thread()}
        self.turned = turned.wait(PATIENCE_S)
        self.closed = threading.Event()

    def predict(self, question: Question, taken: Any = ()) -> list[float]:
        self.threads.setdefault("warmed", threading.current_thread())
        raise StateRefused("pmf", "nan", "probabilities", "go back")

    def close(self) -> None:
        self.threads["closed"] = threading.current_thread()
        self.closed.set()


async def test_the_loop_turns_while_a_model_is_loaded_and_the_former_version_decides(monkeypatch):
    config = Config(**tables({"front": served(kind="vw", arguments=ARGUMENTS)}))
    version = published(make("vw", ARGUMENTS).dump())
    cache = PolicyCache(config, cast(Redis, OneVersion(version)))
    former = cache.choosers["front"]
    turned = threading.Event()
    digests: list[threading.Thread] = []

    def noted(model: bytes) -> str:
        digests.append(threading.current_thread())
        return digest(model)

    monkeypatch.setattr(model_loader, "make", lambda kind, arguments, model: Policy(turned))
    monkeypatch.setattr(model_loader, "digest", noted)
    asking = asyncio.create_task(cache.ask_policies())
    while not digests:
        await asyncio.sleep(0.001)
    assert cache.choosers["front"] is former
    assert former.policy.predict(QUESTION) == [0.5, 0.5]
    turned.set()
    await asking

    loaded = cast(Policy, cache.choosers["front"].policy)
    assert cache.choosers["front"].version == version.record.version
    assert loaded.turned
    # Spoilt weights are no reason to refuse the version: each request that they cannot decide says so.
    assert loaded.threads.keys() == {"made", "warmed"}
    cache._loader.close(cast(Any, loaded))
    assert await asyncio.to_thread(loaded.closed.wait, PATIENCE_S)
    assert threading.main_thread() not in {*loaded.threads.values(), *digests}


async def test_a_policy_that_decides_for_no_placement_is_not_loaded():
    config = Config(**tables({"front": served(kind="vw", arguments=ARGUMENTS)}))
    version = published(make("vw", ARGUMENTS).dump())
    challenger = replace(config.policies["front"], placements=("front",))
    config = replace(config, policies=config.policies | {"challenger": challenger})
    # Redis answers of each policy with a version of `front`, which would be refused as the challenger's.
    cache = PolicyCache(config, cast(Redis, OneVersion(version)))
    await cache.ask_policies()
    assert cache.choosers.keys() == {"front"}
    assert cache.choosers["front"].version == version.record.version


async def test_the_version_that_was_in_use_is_closed_beside_the_loop():
    config = Config(**tables({"front": served(kind="vw", arguments=ARGUMENTS)}))
    cache = PolicyCache(config, cast(Redis, OneVersion(published(make("vw", ARGUMENTS).dump()))))
    turned = threading.Event()
    turned.set()
    former = Policy(turned)
    cache._used["front"] = cache._used["front"]._replace(policy=cast(Any, former))
    await cache.ask_policies()
    assert await asyncio.to_thread(former.closed.wait, PATIENCE_S)
    assert former.threads["closed"] is not threading.main_thread()
    assert cache.choosers["front"].policy.predict(QUESTION) == [0.5, 0.5]


async def test_what_cannot_be_loaded_is_refused_with_its_policy():
    model = make("vw", ARGUMENTS).dump()
    with pytest.raises(StateRefused, match="policy front"):
        await ModelLoader().load("front", published(model, digest="0" * 64))
    with pytest.raises(StateRefused, match="policy front"):
        await ModelLoader().load("front", published(b"nonsense"))


@pytest.mark.parametrize(("cpu_s", "pause_s"), [(0.004, 0.2), (0.04, 2.0), (3.0, 5.0)])
async def test_a_load_is_followed_by_a_pause_of_fifty_times_its_cpu_up_to_five_seconds(monkeypatch, cpu_s, pause_s):
    monkeypatch.setattr(model_loader, "_timed", lambda name, published: (make("uniform", ""), cpu_s))
    now = 100.0
    monkeypatch.setattr(model_loader, "time", SimpleNamespace(monotonic=lambda: now))
    loader = ModelLoader()
    assert loader.pause_s == 0.0
    await loader.load("front", published(b""))
    assert loader.pause_s == pytest.approx(pause_s)
    now += pause_s
    assert loader.pause_s == pytest.approx(0.0)


class PausingLoader:
    """Loads nothing until its pause is over."""

    def __init__(self) -> None:
        self.pause_s = 3600.0
        self.loaded = asyncio.Event()

    async def load(self, name: str, published: Published) -> Any:
        self.loaded.set()
        return make("uniform", "")

    def close(self, policy: Any) -> None:
        pass


async def test_no_version_is_loaded_during_the_pause_after_a_load():
    config = Config(**tables({"front": served(kind="vw", arguments=ARGUMENTS)}))
    redis = OneVersion(published(make("vw", ARGUMENTS).dump()))
    cache = PolicyCache(config, cast(Redis, redis))
    loader = PausingLoader()
    cache._loader = cast(Any, loader)
    following = asyncio.create_task(cache.run())
    await asyncio.wait_for(redis.pending_asked.wait(), PATIENCE_S)
    cache._news.add("front")
    cache._wake.set()
    # Asked again after a second: nothing was loaded for the news either.
    redis.pending_asked.clear()
    await asyncio.wait_for(redis.pending_asked.wait(), PATIENCE_S)
    assert not loader.loaded.is_set()
    loader.pause_s = 0.0
    await asyncio.wait_for(loader.loaded.wait(), PATIENCE_S)
    following.cancel()
    await asyncio.wait([following])
    assert cache.choosers["front"].version.startswith("1-")
