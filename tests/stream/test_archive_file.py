"""A file of the archive while it grows."""

import pyarrow as pa
import pyarrow.parquet as pq

from archive.growing_file import GROUP_ROWS, GrowingFile, day_of
from stream.kafka.faust_app import log_time_ms
from stream.kafka.log import LogRecord


def grown(times_ms: list[int]) -> GrowingFile:
    file = GrowingFile("dead-letters", "1970-01-01", 3)
    for offset, time_ms in enumerate(times_ms, 3):
        file.add(LogRecord("dead-letters", 0, offset, time_ms, None, b"bytes", ()))
    return file


def offsets(file: GrowingFile) -> list[int]:
    return list(pq.read_table(pa.BufferReader(file.finish()))["offset"].to_pylist())


def test_what_is_younger_than_a_topic_that_was_made_anew_is_left_out() -> None:
    times = [*range(GROUP_ROWS), 9000, 9000, 9001]
    file = grown(times)
    assert file.keep_before(9000) == 3 + GROUP_ROWS
    assert offsets(file) == list(range(3, 3 + GROUP_ROWS))
    assert file.rows == GROUP_ROWS
    assert (
        pq.read_table(pa.BufferReader(file.finish())).schema
        == pq.read_table(pa.BufferReader(grown([1]).finish())).schema
    )


def test_any_time_that_a_producer_may_write_is_stored() -> None:
    times = [0, 1, -5, 253_402_300_799_000, 2**63 - 1, -(2**63)]
    for time_ms in times:
        file = grown([log_time_ms(time_ms / 1000)])
        assert day_of(log_time_ms(time_ms / 1000))
        table = pq.read_table(pa.BufferReader(file.finish()))
        assert table["log_time"].cast(pa.int64()).to_pylist() == [time_ms]


def test_of_a_topic_that_was_made_anew_nothing_may_be_left() -> None:
    file = grown([9000, 9001])
    assert (file.keep_before(9000), file.rows, offsets(file)) == (3, 0, [])
