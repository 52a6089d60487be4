"""Transactions of other programs, behind which a log cannot be read until they end."""

from collections.abc import Collection

from records.errors import StateRefused
from stream.config import Config
from stream.kafka.log import LogReader, Partition


def abort_remedy(config: Config, where: Partition, offset: int) -> str:
    """Say how to end a transaction.

    >>> abort_remedy(Config(brokers="k:9092"), ("rewards", 0), 7)[-60:]
    'k:9092 abort --topic rewards --partition 0 --start-offset 7`'
    """
    return (
        "let its producer commit or abort it, or run `kafka-transactions --bootstrap-server "
        f"{config.brokers} abort --topic {where[0]} --partition {where[1]} --start-offset {offset}`"
    )


async def refuse_open_transactions(config: Config, reader: LogReader, partitions: Collection[Partition]) -> None:
    """Refuse to judge, or to go on from, logs of which an open transaction hides a part.

    Raises
    ------
    StateRefused
        There is one.
    """
    for where, (offset, _) in sorted((await reader.open_transactions(partitions)).items()):
        remedy = abort_remedy(config, where, offset)
        raise StateRefused(
            f"{where[0]}[{where[1]}]",
            f"a transaction that is open since offset {offset} and hides what comes after it",
            "none",
            f"{remedy}; a role then goes on by itself, otherwise run the command again",
        )
