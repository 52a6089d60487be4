"""What a gauge says of a partition is said by the worker that has it."""

from prometheus_client import REGISTRY

from stream import metrics


def lag(partition: str) -> float | None:
    return REGISTRY.get_sample_value(
        "bowerbird_input_lag", {"role": "join", "topic": "test-clicks", "partition": partition}
    )


def test_the_lag_of_a_partition_that_moved_away_is_not_shown_any_more() -> None:
    metrics.show_lag("join", "test-clicks", 7, 12)
    metrics.show_lag("join", "test-clicks", 8, -1)
    assert (lag("7"), lag("8")) == (12.0, 0.0)
    metrics.forget_lag("join", "test-clicks", 7)
    assert (lag("7"), lag("8")) == (None, 0.0)
    metrics.forget_lag("join", "test-clicks", 7)
