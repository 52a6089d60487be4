"""A small shop that shows one of three articles to each visitor, and learns which one whom.

    bowerbird up                                            # a service; then in another terminal,
    python examples/shop.py                                 # after the `export BOWERBIRD_CONFIG=…` that it prints
    python examples/shop.py --fake                          # or in this process, without any server

It needs `pip install ./clients/python`, and with `--fake` the service's package, too.

The placement is called `front`, its streams `views`, `clicks` and `leaves`; `close_on` names the last two. So a
decision is learned as soon as its visitor has clicked or left. Without `leaves`, what nobody clicked would be learned
only when its window has closed.
"""

import argparse
import os
import random
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bowerbird_client import BlockingClient

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
    client.reward(answer.event_id, "clicks" if clicked else "leaves")
    return clicked


def open_shop(client: BlockingClient, visits: int, chance: random.Random, pause: Callable[[], None]) -> None:
    """Serve visitors, and print how many clicked, quarter by quarter."""
    for quarter in range(1, 5):
        clicks = 0
        for _ in range(visits // 4):
            clicks += visit(client, chance)
            pause()
        sys.stdout.write(f"quarter {quarter}: {clicks} of {visits // 4} visitors clicked\n")
        sys.stdout.flush()
    sys.stdout.write("By chance it would be one in three, by the best choice four in five.\n")


def service_settings() -> dict[str, Any]:
    """Return the settings of the service, where `BOWERBIRD_CONFIG` names them."""
    if "BOWERBIRD_CONFIG" not in os.environ:
        return {}
    return tomllib.loads(Path(os.environ["BOWERBIRD_CONFIG"]).read_text(encoding="utf-8"))


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="A small shop that learns what to show.")
    service = service_settings()
    brokers, prefix = service.get("brokers", "127.0.0.1:9092"), service.get("prefix", "")
    parser.add_argument("--brokers", default=brokers, help="Kafka's bootstrap servers [default: %(default)s]")
    parser.add_argument("--prefix", default=prefix, help="the service's setting `prefix`")
    parser.add_argument("--visits", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1, help="of the visitors")
    parser.add_argument("--fake", action="store_true", help="no servers: the whole loop in this process")
    options = parser.parse_args()
    if "front" not in service.get("placements", {"front": {}}) and not options.fake:
        parser.error("the settings have no placement `front`: start `bowerbird up` without settings of your own")
    chance = random.Random(options.seed)
    if not options.fake:
        with BlockingClient(options.brokers, prefix=options.prefix, reply_topic="replies.shop") as client:
            open_shop(client, options.visits, chance, lambda: time.sleep(0.02))
        return

    from bowerbird.fake import FakeLoop
    from records.rule import Reward, StreamReward
    from stream.config import Config, PlacementConfig, PolicyConfig

    seen, clicked = StreamReward(weight=0.0), StreamReward(weight=1.0, aggregate="max")
    reward = Reward(close_on=("clicks", "leaves"), streams={"views": seen, "clicks": clicked, "leaves": seen})
    arguments = "--cb_explore_adf --epsilon 0.1 -q uA --learning_rate 1"
    placements = {"front": PlacementConfig(window_s=5, reward=reward)}
    loop = FakeLoop(Config(placements=placements, policies={"front": PolicyConfig("vw", arguments)}))
    with BlockingClient(connection=loop.connection(), batch_ms=0) as client:

        def pause() -> None:
            client.flush()
            loop.advance(1)

        open_shop(client, options.visits, chance, pause)


if __name__ == "__main__":
    main()
