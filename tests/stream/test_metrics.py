"""What a gauge says of a partition is said by the worker that has it."""

import re
from pathlib import Path

from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from stream import metrics

ROOT = Path(__file__).parents[2]


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


def test_every_metric_is_measured_somewhere() -> None:
    source = "".join(
        path.read_text(encoding="utf-8") for room in ("bowerbird", "stream") for path in (ROOT / room).rglob("*.py")
    )
    names = [name for name, each in vars(metrics).items() if isinstance(each, MetricWrapperBase)]
    assert len(names) > 30
    # Its definition, and a use at least.
    assert [name for name in names if len(re.findall(rf"\b{name}\b", source)) < 2] == []
