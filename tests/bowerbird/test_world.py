"""The demo's world is a function of its seed, and a policy of the demo's settings learns it and learns it again."""

import heapq
import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from bowerbird.demo.world import WINDOW_S, Event, World
from bowerbird.settings import load
from policies.draw import draw
from policies.features import Features, decode_action, decode_context
from policies.registry import make
from records.limits import Limits
from rewards import rules
from tests.policies.asking import learn_one, pmf_of

SETTINGS = Path(__file__).parents[2] / "bowerbird" / "demo" / "data" / "bowerbird.toml"
VISITS_A_SECOND = 200


def test_one_seed_makes_one_world() -> None:
    one, same, other = World(1, 100), World(1, 100), World(2, 100)
    articles = one.articles()
    assert articles == same.articles() != other.articles()
    for number in range(100):
        visit = one.visit(number)
        assert visit == same.visit(number)
        assert one.events(visit, articles[0]) == same.events(visit, articles[0])
    assert [one.visit(number).reader for number in range(100)] != [other.visit(number).reader for number in range(100)]


def test_the_world_is_as_disorderly_as_it_claims() -> None:
    world = World(3, 4000)
    articles = world.articles()
    before, events = [], []
    for number in range(world.visits):
        visit = world.visit(number)
        before += world.before(visit)
        events += world.events(visit, articles[number % len(articles)])
    assert {event.stream for event in events} == {"views", "clicks", "purchases"}
    assert before
    assert all(event.stream == "views" and event.after_s is None for event in before)
    assert len({event.id for event in events}) < len(events), "nothing is sent twice"
    delays = [event.after_s for event in events if event.after_s is not None]
    assert len(delays) == len(events)
    assert any(delay > WINDOW_S for delay in delays), "nothing is late"
    assert {event.id for event in before}.isdisjoint(event.id for event in events)


def test_a_click_is_as_frequent_as_its_probability() -> None:
    world = World(5, 20_000)
    articles = world.articles()
    expected = clicked = 0.0
    for number in range(world.visits):
        visit, article = world.visit(number), articles[number % len(articles)]
        expected += world.click_probability(visit, article)
        clicked += world.clicks(visit, article)
    assert abs(clicked - expected) < 4 * expected**0.5


def test_the_settings_of_the_demo_fit_the_world() -> None:
    config = load(SETTINGS, {})
    assert config.placements["front"].window_s == WINDOW_S
    assert set(config.streams) == {"views", "clicks", "purchases"}


class Closing(NamedTuple):
    """A decision that waits for its window to close."""

    at_s: float
    number: int
    context: Features
    chosen: int
    propensity: float
    events: list[Event]


def simulate(seed: int, visits: int) -> Iterator[tuple[bool, float, float]]:
    """Yield per visit: was it clicked, and the probability for a uniform and for the best choice.

    The loop without its servers: the policy learns when windows close, and decides by what it published last.
    """
    config = load(SETTINGS, {})
    settings, limits = config.policies["front"], Limits()
    rule = config.rule("front")
    world = World(seed, visits)
    articles = world.articles()
    actions = [decode_action(json.dumps(article.action()).encode(), limits) for article in articles]
    learner = make(settings.kind, settings.arguments)
    published = make(settings.kind, settings.arguments, learner.dump())
    windows: list[Closing] = []
    lag_s, published_s, unpublished = 0.75, 0.0, 0
    for number in range(visits):
        now_s = number / VISITS_A_SECOND
        while windows and windows[0].at_s + lag_s < now_s:
            closed = heapq.heappop(windows)
            if any(event.stream == "views" for event in closed.events):
                counted = [rules.Event(event.stream, event.id) for event in closed.events]
                reward = rules.reward(rule.reward, rules.counted(counted))
                learn_one(learner, closed.context, actions, closed.chosen, closed.propensity, reward)
                unpublished += 1
        if unpublished and (unpublished >= settings.publish_examples or now_s - published_s > 0.5):
            model = learner.dump()
            learner, published = (make(settings.kind, settings.arguments, model) for _ in range(2))
            published_s, unpublished = now_s, 0
        visit = world.visit(number)
        context = decode_context(json.dumps(visit.context()).encode(), limits)
        pmf = pmf_of(published, context, actions)
        chosen = draw(config.salt("front"), visit.event_id, pmf).chosen
        events = world.before(visit) + world.events(visit, articles[chosen])
        kept = [event for event in events if event.after_s is None or event.after_s <= WINDOW_S]
        bought = [event.after_s for event in kept if event.stream == "purchases" and event.after_s is not None]
        closes_s = now_s + min(bought, default=WINDOW_S)
        heapq.heappush(windows, Closing(closes_s, number, context, chosen, pmf[chosen], kept))
        best = world.best_possible(visit, articles)
        yield world.clicks(visit, articles[chosen]), world.uniform(visit, articles), best


@pytest.mark.parametrize("seed", range(1, 6))
def test_the_policy_climbs_falls_and_recovers(seed: int) -> None:
    visits = 6000
    shown = list(simulate(seed, visits))

    def rate(start: float, end: float, which: int) -> float:
        part = [figures[which] for figures in shown[int(start * visits) : int(end * visits)]]
        return sum(part) / len(part)

    assert rate(0.35, 0.5, 0) > 1.5 * rate(0.35, 0.5, 1), "it did not climb"
    assert rate(0.5, 0.58, 0) < rate(0.5, 0.58, 1), "the change of tastes did not hurt"
    assert rate(0.75, 1.0, 0) > 1.3 * rate(0.75, 1.0, 1), "it did not recover"
    assert rate(0.0, 1.0, 0) < rate(0.0, 1.0, 2)
