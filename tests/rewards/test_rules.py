"""The pure rules: windows, what counts, activation, and the arithmetic of the reward."""

import math
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from records.limits import REWARD_LIMIT
from records.rule import Aggregate, Reward, Rule, StreamReward
from rewards.rules import AGGREGATES, Event, activated, counted, deadline_ms, opens_ms, reward, reward_range

worths = st.floats(-1e6, 1e6, allow_nan=False)
aggregates: st.SearchStrategy[Aggregate] = st.sampled_from(["sum", "first", "last", "max", "min", "mean"])


def clicks(*values: float | None) -> list[Event]:
    return [Event("clicks", str(number), value) for number, value in enumerate(values)]


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [("sum", 9.0), ("first", 4.0), ("last", 3.0), ("max", 4.0), ("min", 2.0), ("mean", 3.0)],
)
def test_each_aggregate_of_the_values_in_the_order_of_places(aggregate: Aggregate, expected: float) -> None:
    rule = Reward(streams={"clicks": StreamReward(value=True, aggregate=aggregate)})
    assert reward(rule, clicks(4.0, 2.0, 3.0)) == expected


def test_a_weight_is_the_worth_of_each_event_whatever_its_value() -> None:
    rule = Reward(streams={"clicks": StreamReward(weight=0.5)})
    assert reward(rule, clicks(100.0, None, -3.0)) == 1.5


def test_an_event_without_a_value_is_worth_nothing_but_is_an_event() -> None:
    rule = Reward(default=-1.0, streams={"clicks": StreamReward(value=True, aggregate="mean")})
    assert reward(rule, clicks(None, 3.0)) == 1.5
    assert reward(rule, clicks(None)) == 0.0


def test_streams_are_aggregated_apart_then_added_then_clipped() -> None:
    rule = Reward(
        clip=(-1.0, 10.0),
        streams={
            "clicks": StreamReward(weight=1.0, aggregate="max"),
            "purchases": StreamReward(value=True, aggregate="sum"),
        },
    )
    bought = [Event("purchases", "p", 4.0), Event("purchases", "q", 2.5)]
    assert reward(rule, clicks(None, None) + bought) == 7.5
    assert reward(rule, [*bought, Event("purchases", "r", 50.0)]) == 10.0
    assert reward(rule, [Event("purchases", "refund", -50.0)]) == -1.0


def test_the_default_stands_unclipped_when_nothing_of_worth_counted() -> None:
    rule = Reward(default=-5.0, clip=(0.0, 1.0), streams={"clicks": StreamReward(weight=1.0)})
    assert reward(rule, []) == -5.0
    assert reward(rule, [Event("views", "v", 3.0)]) == -5.0
    assert reward(rule, clicks(None)) == 1.0


@given(st.lists(worths, min_size=1, max_size=8), aggregates, st.booleans())
def test_reward_is_exactly_rounded_and_within_the_clip(values: list[float], aggregate: Aggregate, narrow: bool) -> None:
    clip = (-1.0, 1.0) if narrow else (-REWARD_LIMIT, REWARD_LIMIT)
    rule = Reward(clip=clip, streams={"clicks": StreamReward(value=True, aggregate=aggregate)})
    computed = reward(rule, clicks(*values))
    assert clip[0] <= computed <= clip[1]
    if aggregate == "sum":
        assert computed == min(max(float(sum(map(Fraction, values))), clip[0]), clip[1])


@given(st.permutations(clicks(0.1, 0.2, 0.3, 1e6, -1e6)), st.sampled_from(["sum", "max", "min", "mean"]))
def test_symmetric_aggregates_do_not_feel_the_order_of_the_events(events: list[Event], aggregate: Aggregate) -> None:
    rule = Reward(streams={"clicks": StreamReward(value=True, aggregate=aggregate)})
    assert reward(rule, events) == reward(rule, clicks(0.1, 0.2, 0.3, 1e6, -1e6))


def test_the_order_in_which_streams_are_configured_does_not_matter() -> None:
    worth = StreamReward(value=True)
    events = [Event("a", "1", 0.1), Event("b", "1", 0.2), Event("c", "1", 0.3)]
    forth = Reward(streams={"a": worth, "b": worth, "c": worth})
    back = Reward(streams={"c": worth, "b": worth, "a": worth})
    assert reward(forth, events) == reward(back, events)


def test_of_one_stream_and_id_the_first_counts() -> None:
    first, again = Event("clicks", "a", 1.0), Event("clicks", "a", 9.0)
    elsewhere = Event("purchases", "a", 2.0)
    assert counted([first, again, elsewhere]) == [first, elsewhere]
    assert counted([again, first]) == [again]
    assert counted([]) == []


def test_the_window_in_ms() -> None:
    rule = Rule(window_s=0.2, early_s=120.5)
    assert opens_ms(rule, 1_000_000) == 879_500
    assert deadline_ms(rule, 1_000_000) == 1_000_200
    assert opens_ms(Rule(window_s=1.0), 1_000_000) == 880_000


@pytest.mark.parametrize(
    ("activate", "activate_on", "event", "expected"),
    [
        (True, None, None, True),
        (False, None, None, False),
        (True, "views", None, False),
        (True, "views", Event("clicks", "c"), False),
        (True, "views", Event("views", "v"), True),
        (True, "views", Event("clicks", "c", activate=True), True),
        (False, None, Event("views", "v"), False),
        (False, None, Event("clicks", "c", activate=True), True),
        (False, "views", Event("views", "v"), True),
    ],
)
def test_activation(activate: bool, activate_on: str | None, event: Event | None, expected: bool) -> None:
    rule = Rule(window_s=1.0, activate_on=activate_on)
    assert activated(rule, activate, [event] if event else []) is expected


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 2e6])
def test_numbers_beyond_the_limit_are_refused(number: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        StreamReward(weight=number)
    with pytest.raises(ValueError, match="default"):
        Reward(default=number)
    with pytest.raises(ValueError, match="clip"):
        Reward(clip=(number, number))
    with pytest.raises(ValueError, match="clip"):
        Reward(clip=(1.0, 0.0))


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -1.0, 1e9])
def test_durations_are_bounded(seconds: float) -> None:
    with pytest.raises(ValueError, match="window_s"):
        Rule(window_s=seconds)
    with pytest.raises(ValueError, match="early_s"):
        Rule(window_s=1.0, early_s=seconds)


def test_a_stream_has_either_a_weight_or_its_events_value() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        StreamReward()
    with pytest.raises(ValueError, match="exactly one"):
        StreamReward(weight=1.0, value=True)
    with pytest.raises(ValueError, match="aggregate"):
        StreamReward(weight=1.0, aggregate="median")  # type: ignore[arg-type]


@given(st.lists(worths, min_size=1, max_size=6), st.sampled_from(sorted(AGGREGATES)))
def test_an_aggregate_lies_within_what_it_aggregates(values: list[float], name: str) -> None:
    aggregate = AGGREGATES[name](values)
    if name == "sum":
        assert aggregate == math.fsum(values)
    elif name == "mean":
        assert min(values) - 1e-9 <= aggregate <= max(values) + 1e-9
    else:
        assert aggregate in values


# ----- what a rule allows

some_weights = st.sampled_from([-2.5, -0.1, 0.0, 0.1, 1.0, 7.0])
clips = st.sampled_from([(-REWARD_LIMIT, REWARD_LIMIT), (0.0, 1.0), (-3.0, 0.5), (2.0, 2.0), (-REWARD_LIMIT, 4.0)])


def rules_with(weights: st.SearchStrategy[float]) -> st.SearchStrategy[Reward]:
    streams = st.one_of(
        st.builds(StreamReward, weight=weights, aggregate=aggregates),
        st.builds(StreamReward, value=st.just(True), aggregate=aggregates),
    )
    return st.builds(
        Reward,
        default=st.sampled_from([0.0, -1.0, 3.0]),
        clip=clips,
        streams=st.dictionaries(st.sampled_from(["clicks", "views", "purchases"]), streams, max_size=3),
    )


rules = rules_with(some_weights | worths)
happened = st.lists(
    st.builds(Event, st.sampled_from(["clicks", "views", "purchases", "other"]), st.uuids().map(str), worths),
    max_size=8,
)


@given(rules, happened)
def test_no_reward_lies_beyond_what_its_rule_allows(rule: Reward, events: list[Event]) -> None:
    least, largest = reward_range(rule)
    assert least <= reward(rule, events) <= largest


decimals = st.integers(-10_000, 10_000).map(lambda number: number / 1000)


@given(worths | decimals, st.integers(1, 200))
@example(0.1, 3)
@example(0.1, 43)
def test_a_mean_of_equal_worths_is_within_its_range_to_the_last_bit(weight: float, many: int) -> None:
    rule = Reward(streams={"clicks": StreamReward(weight=weight, aggregate="mean")})
    least, largest = reward_range(rule)
    assert least <= reward(rule, clicks(*[None] * many)) <= largest


@given(st.lists(worths | decimals, min_size=1, max_size=6))
@example([0.2, 0.7, 0.1])
def test_streams_add_up_to_no_more_than_their_range(weights: list[float]) -> None:
    streams = {f"s{at}": StreamReward(weight=weight, aggregate="max") for at, weight in enumerate(weights)}
    least, largest = reward_range(Reward(streams=streams))
    for some in (weights, [each for each in weights if each > 0], [each for each in weights if each < 0]):
        events = [Event(f"s{at}", "a") for at, weight in enumerate(weights) if weight in some]
        assert least <= reward(Reward(streams=streams), events) <= largest


@given(rules_with(some_weights))
def test_what_a_rule_allows_can_happen(rule: Reward) -> None:
    """By one event of some of the streams, or so many that there is no end: a hundred, of weights that are not tiny."""

    def events(names: tuple[str, ...], value: float, many: int) -> list[Event]:
        return [Event(name, f"{name}{number}", value) for name in names for number in range(many)]

    rewards = [
        reward(rule, events(names, value, many))
        for size in range(len(rule.streams) + 1)
        for names in combinations(rule.streams, size)
        for value in (-1e9, 0.0, 1e9)
        for many in (1, 100)
    ]
    for end, seen, bounded in zip(reward_range(rule), (min(rewards), max(rewards)), (-1, 1), strict=True):
        if math.isfinite(end):
            assert seen == pytest.approx(end, abs=1e-9)
        else:
            assert seen * bounded >= 9.0
