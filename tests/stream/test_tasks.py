"""Cancellations that must not get lost."""

import asyncio

from stream.shutdown import ended, within


async def _cancel_as_the_wait_ends() -> bool:
    woken = asyncio.Event()

    async def loop() -> None:
        while True:
            woken.clear()
            await within(woken.wait(), 60.0)

    task = asyncio.create_task(loop())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    woken.set()
    await asyncio.sleep(0)
    # The wait has ended, and the loop has not gone on yet.
    task.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    cancelled = task.done()
    await ended(task)
    return cancelled


def test_a_cancellation_gets_through_at_the_moment_at_which_a_wait_ends() -> None:
    assert asyncio.run(_cancel_as_the_wait_ends())


def test_a_wait_is_given_up_after_its_time() -> None:
    async def never() -> None:
        await within(asyncio.Event().wait(), 0.01)

    asyncio.run(never())


def test_a_loop_ends_whose_task_group_fails_as_it_is_cancelled() -> None:
    async def scenario() -> bool:
        closed = asyncio.Event()

        async def use() -> None:
            await closed.wait()
            raise ConnectionError

        async def loop() -> None:
            while True:
                try:
                    async with asyncio.TaskGroup() as group:
                        group.create_task(use())
                except* ConnectionError:
                    await asyncio.sleep(0.01)

        task = asyncio.create_task(loop())
        await asyncio.sleep(0.01)
        closed.set()
        await asyncio.sleep(0)
        await asyncio.wait_for(ended(task), 20)
        return task.cancelled()

    assert asyncio.run(scenario())
