"""An archive whose decisions were taken by several versions of a policy at once, with the probabilities they gave."""

import json
from typing import Any, NamedTuple

import numpy as np

from policies.draw import draw
from policies.features import decode_action, decode_context
from policies.policy import Policy, digest, version_name
from policies.registry import make
from records.limits import Limits
from tests.policies.asking import pmf_of
from tests.replay.world import ARGUMENTS, World, actions, decision

BEFORE, CUT = 60, 20
"""So many decisions are of version 0, and a version is published after so many outcomes."""
ARMS = (1, 2)
"""The versions that decide afterwards, by turns of chance."""
_START_MS, _EACH_MS, _CLOSED_MS = 1_000_000, 700, 20_000


class Arm(NamedTuple):
    """A version of the policy."""

    version: str
    policy: Policy

    def pmf(self, number: int) -> list[float]:
        """Return what it says of a decision."""
        offered = [decode_action(json.dumps(each).encode(), Limits()) for each in actions(number)]
        context = decode_context(json.dumps({"taste": f"t{number % 2}"}).encode(), Limits())
        return pmf_of(self.policy, context, offered)


def arms_world(count: int = 240, versions: tuple[int, ...] = ARMS) -> tuple[World, list[Arm]]:
    """Return a world, and version 0 with those that took its later decisions; nothing was published after them."""
    first = Arm(version_name(0, digest(make("vw", ARGUMENTS).dump())), make("vw", ARGUMENTS))
    early = _world(BEFORE, lambda number: first)
    arms = [first] + [
        Arm(early.versions[number - 1].version, make("vw", ARGUMENTS, early.models[number - 1])) for number in versions
    ]
    chance = np.random.default_rng(5).integers(1, len(arms), count)
    world = _world(count, lambda number: arms[chance[number]] if number >= BEFORE else first)
    assert world.models[: max(versions)] == early.models[: max(versions)]
    world.versions = world.versions[: max(versions)]
    return world, arms


def _world(count: int, who: Any) -> World:
    world, now = World(), _START_MS
    for number in range(count):
        now += _EACH_MS + (_CLOSED_MS if number == BEFORE else 0)
        arm, event_id = who(number), f"visit-{number}"
        pmf = arm.pmf(number)
        chosen = draw("front", event_id, pmf)
        offered = actions(number)
        fields = {
            "pmf": pmf,
            "chosen": offered[chosen.chosen]["id"],
            "ranking": [offered[index]["id"] for index in chosen.ranking],
            "propensity": pmf[chosen.chosen],
            "policy_version": arm.version,
        }
        world.append("decisions", number % 3, now, decision(event_id, number, **fields))
        # What is liked turns around before the second version, which learns to do something else.
        if number < CUT or (number >= BEFORE and (number * 7 + chosen.chosen) % 5 < 2 + chosen.chosen):
            world.append("clicks", number % 2, now + 100, {"event_id": event_id})
    return world.run(now + _CLOSED_MS, cut_each=CUT)


class Row(NamedTuple):
    """A logged decision; ``each`` is what all arms give to its action, ``own`` the number of its own."""

    reward: float
    propensity: float
    each: list[float]
    own: int


def by_hand(world: World, arms: list[Arm]) -> list[Row]:
    """Return the rows in the order of the log."""
    rows = []
    for _, outcome in world.outcomes():
        logged = json.loads(bytes(outcome.decision))
        number = int(logged["event_id"].partition("-")[2])
        chosen = [each["id"] for each in logged["actions"]].index(logged["chosen"])
        own = [arm.version for arm in arms].index(outcome.policy_version)
        rows.append(Row(outcome.reward, logged["propensity"], [arm.pmf(number)[chosen] for arm in arms], own))
    return rows
