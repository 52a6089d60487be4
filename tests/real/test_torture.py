"""Law 1: across kill -9 of any worker, of Redis and of the broker nothing is lost and nothing is learned twice."""

import random
import secrets
from collections import Counter

import pytest

from tests.torture import KINDS, plan, torture


@pytest.mark.kill
async def test_law_1_six_kills_of_anything_under_load() -> None:
    report = await torture(kills=6, seed=secrets.randbelow(10_000))
    assert not report.problems, "\n".join(report.problems)
    assert {kill.kind for kill in report.kills} == set(KINDS)
    assert all(kill.unacknowledged > 0 for kill in report.kills)
    assert len(report.sent) > 100
    assert report.verdicts["front"].learned > 50


@pytest.mark.parametrize("seed", range(20))
def test_the_plan_has_enough_of_each_kind(seed: int) -> None:
    assert min(Counter(plan(20, random.Random(seed))).values()) >= 3
    assert set(plan(6, random.Random(seed))) == set(KINDS)
    assert (len(plan(20, random.Random(seed))), len(plan(6, random.Random(seed)))) == (20, 6)
