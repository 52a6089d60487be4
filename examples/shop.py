"""A small shop that shows one of three articles to each visitor, and learns which one whom.

    python examples/shop.py --fake                          # in this process, without any server
    bowerbird up                                            # or: on a running service, in another terminal,
    python examples/shop.py                                 # --brokers names others than 127.0.0.1:9092

The policy is called `front`, its streams `views` and `clicks`.
"""

import argparse
import random
import sys
import time
from collections.abc import Callable

from bowerbird.client import BlockingClient

ARTICLES = ["boots", "hat", "novel"]
FAVOURITE = {"hiker": "boots", "swimmer": "hat", "reader": "novel"}
"""Who clicks on what: what the shop does not know, and the policy finds out."""


def visit(client: BlockingClient, chance: random.Random) -> bool:
    """Serve one visitor, and return whether the article was clicked."""
    person = chance.choice(list(FAVOURITE))
    # Without an answer in time the shop shows its default, as it did before it had a policy.
    answer = client.decide("front", ARTICLES, {"user": {"kind": person}}, default="novel", timeout_s=1.0)
    client.activate(answer.event_id, "views")
    clicked = chance.random() < (0.8 if FAVOURITE[person] == answer.chosen else 0.1)
    if clicked:
        client.reward(answer.event_id, "clicks")
    return clicked


def open_shop(client: BlockingClient, visits: int, pause: Callable[[], None]) -> None:
    """Serve visitors, and tell how many clicked, quarter by quarter."""
    chance = random.Random(1)
    for quarter in range(1, 5):
        clicks = 0
        for _ in range(visits // 4):
            clicks += visit(client, chance)
            pause()
        sys.stdout.write(f"quarter {quarter}: {clicks} of {visits // 4} visitors clicked\n")
        sys.stdout.flush()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="A small shop that learns what to show.")
    parser.add_argument("--brokers", default="127.0.0.1:9092", help="Kafka's bootstrap servers")
    parser.add_argument("--prefix", default="", help="the service's setting `prefix`")
    parser.add_argument("--visits", type=int, default=400)
    parser.add_argument("--fake", action="store_true", help="no servers: the whole loop in this process")
    told = parser.parse_args()
    if not told.fake:
        with BlockingClient(told.brokers, prefix=told.prefix, reply_topic="replies.shop") as client:
            open_shop(client, told.visits, lambda: time.sleep(0.02))
        return

    from bowerbird.fake import FakeLoop
    from rewards.rules import Reward, StreamReward
    from stream.config import Config, PolicyConfig

    reward = Reward(streams={"views": StreamReward(weight=0.0), "clicks": StreamReward(weight=1.0, aggregate="max")})
    arguments = "--cb_explore_adf --epsilon 0.1 -q uA --learning_rate 1"
    loop = FakeLoop(Config(policies={"front": PolicyConfig("vw", arguments, window_s=5, reward=reward)}))
    with loop.blocking_client(batch_ms=0) as client:

        def pause() -> None:
            client.flush()
            loop.advance(1)

        open_shop(client, told.visits, pause)


if __name__ == "__main__":
    main()
