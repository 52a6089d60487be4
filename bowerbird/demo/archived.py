"""What the archive of the demo holds, and what policies would have been worth by it."""

import asyncio
import time

from archive.reader import Archive
from archive.schema import TOPICS
from bowerbird.demo.figures import Archived
from bowerbird.evaluating import evaluated
from bowerbird.evaluation_request import EvaluationRequest
from bowerbird.log_formats.log_format import UNIFORM
from replay.evaluation.answer import Answer
from replay.evaluation.logs.chunk import silent
from stream.config import Config
from stream.kafka.log import LogReader

ARCHIVED_WITHIN_S = 20.0
LOOK_EVERY_S = 0.2


async def archived(config: Config, policy: str, outcomes: int) -> Archived:
    """Wait until the archive has everything that the log has, and judge a policy and uniform by it, without a server.

    Parameters
    ----------
    outcomes
        So many the policy has in the log, repeats left out.

    Raises
    ------
    BowerbirdError
        What is there cannot be evaluated: outcomes are missing, or a file is damaged.
    """
    began_s = time.monotonic()
    assert config.archive.url is not None
    archive = Archive.at(config.archive.url, config.prefix)
    lacking = await _lacking(config, archive)
    while lacking and time.monotonic() - began_s < ARCHIVED_WITHIN_S:
        await asyncio.sleep(LOOK_EVERY_S)
        lacking = await _lacking(config, archive)
    waited_s = round(time.monotonic() - began_s, 1)
    rows, files = await asyncio.to_thread(_size, archive)
    evaluations = [await asyncio.to_thread(_judge, config, target, policy) for target in (UNIFORM, policy)]
    whole = all(
        evaluation.rows + sum(evaluation.left_out.values()) - evaluation.left_out.get("repeats", 0) == outcomes
        for evaluation in evaluations
    )
    return Archived(whole and not lacking, rows, files, lacking, waited_s, evaluations)


async def _lacking(config: Config, archive: Archive) -> list[str]:
    """Return the partitions, as ``rewards[0]``, whose log goes on where the archive ends."""
    async with LogReader(config) as log:
        numbers = {topic: await log.partitions(config.topic(topic)) for topic in TOPICS}
        ends = await log.ends([(config.topic(topic), number) for topic in TOPICS for number in numbers[topic]])

    def behind(topic: str, number: int) -> bool:
        there = archive.held(topic, number)
        return ends[config.topic(topic), number] > (0 if there is None else there[1])

    return await asyncio.to_thread(
        lambda: [f"{topic}[{number}]" for topic in TOPICS for number in numbers[topic] if behind(topic, number)]
    )


def _size(archive: Archive) -> tuple[int, int]:
    rows = sum(batch.num_rows for topic in TOPICS for batch in archive.batches(topic, ["offset"]))
    return rows, sum(len(archive.pieces(topic)) for topic in TOPICS)


def _judge(config: Config, target: str, placement: str) -> Answer:
    assert config.archive.url is not None
    request = EvaluationRequest(config.archive.url, target=target, placement=placement, prefix=config.prefix)
    command = f"bowerbird replay evaluate {config.archive.url} --target {target} --placement {placement}"
    return evaluated(request, command, lambda _: silent)
