"""The deployment, as far as it goes without containers: ``make check-deploy``.

promtool judges Prometheus' configuration, the alert rules and their tests. Then Bowerbird is installed as the
Dockerfile installs it, and run as docker-compose.yml runs it; a real Prometheus asks the roles, a little load
flows, and every query of the dashboard must be answered with data.
"""

import asyncio
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from ruamel.yaml import YAML

from embedded.server import HOST, free_port
from embedded.watched import WatchedProcess
from records.errors import BowerbirdError
from stream.role import ROLES
from tests.compose import DEPLOY, ROOT, image, read_yaml, services
from tests.real.composed import Composed, composed

NEVER_IN_A_GOOD_SERVICE = {
    "bowerbird_gaps_total",
    "bowerbird_behind_watermark_total",
    "bowerbird_lost_races_total",
    "bowerbird_unexpected_errors_total",
    "bowerbird_archive_lost_total",
    "bowerbird_broker_errors_total",
    "bowerbird_redis_errors_total",
    "bowerbird_repeats_total",
}
"""What the load does not bring about; of these the dashboard's zero is shown."""
OR_ZERO = " or vector(0)"
RATE_INTERVAL = "15s"
ANSWERED_WITHIN_S = 120.0
OVERRIDES = {
    "BOWERBIRD_PLACEMENTS__FRONT__WINDOW_S": "2",
    "BOWERBIRD_ARCHIVE__MAX_S": "1",
    "BOWERBIRD_EARLY_S": "3",
    "BOWERBIRD_REQUEST_TTL_MS": "10000",
}
"""So that windows close, and files are written, while the check looks."""


class DeploymentError(Exception):
    """Something is not as it must be."""


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, flush=True)


def program(name: str) -> str:
    """Return the path of a program of Debian's package prometheus."""
    path = shutil.which(name)
    if path is None:
        raise DeploymentError(f"{name} was not found; install it: apt-get install --no-install-recommends prometheus")
    return path


def judge_files() -> None:
    """Let promtool check what it knows of."""
    folder = DEPLOY / "prometheus"
    for command in (
        ["check", "config", str(folder / "prometheus.yml")],
        ["check", "rules", "--lint=all", "--lint-fatal", str(folder / "alerts.yml")],
        ["test", "rules", str(folder / "alerts_test.yml")],
    ):
        done = subprocess.run([program("promtool"), *command], capture_output=True, text=True)
        if done.returncode:
            raise DeploymentError(f"promtool {' '.join(command)}:\n{done.stdout}{done.stderr}")
        say(f"ok   promtool {' '.join(command[:2])}")


def install(folder: Path) -> list[str]:
    """Install Bowerbird from nothing but what the Dockerfile copies, by its own command; return the program."""
    source, target = folder / "source", folder / "installed"
    source.mkdir()
    built = image()
    for name in built.copied:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            shutil.copy(ROOT / name, source / name)
    subprocess.run([sys.executable, "-m", "venv", str(target)], check=True)
    # Only a container has no use for pip's cache.
    installs = [part for part in built.installs.split() if part != "--no-cache-dir"]
    subprocess.run([str(target / "bin" / "python"), *installs, "--quiet"], cwd=source, check=True)
    return [str(target / "bin" / name) for name in built.entrypoint]


def start_prometheus(service: Composed, folder: Path) -> tuple[WatchedProcess, str]:
    """Start a Prometheus with the composed configuration, on the places of this machine."""
    document = read_yaml(DEPLOY / "prometheus" / "prometheus.yml")
    document["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    document["rule_files"] = [str(DEPLOY / "prometheus" / name) for name in document["rule_files"]]
    for job in document["scrape_configs"]:
        (discovery,) = job.pop("dns_sd_configs")
        port = service.supervisor_port if job["job_name"] == "supervisor" else service.port
        job["static_configs"] = [{"targets": [f"{HOST}:{port(name)}" for name in discovery["names"]]}]
    configuration = folder / "prometheus.yml"
    with configuration.open("w") as file:
        YAML(typ="safe", pure=True).dump(document, file)
    places = {"/etc/prometheus/prometheus.yml": str(configuration), "=/prometheus": f"={folder / 'data'}"}
    command = services()["prometheus"].command
    for inside, here in places.items():
        command = [part.replace(inside, here) for part in command]
    address = f"{HOST}:{free_port()}"
    command = [program("prometheus"), *command, f"--web.listen-address={address}"]
    return WatchedProcess(command, folder / "prometheus.log"), f"http://{address}"


def ask(url: str, path: str, **arguments: str) -> Any:
    """Ask Prometheus."""
    with urlopen(f"{url}/api/v1/{path}?{urlencode(arguments)}", timeout=10) as answer:
        return json.load(answer)["data"]


def query_to_ask(expression: str) -> str:
    """Return a query of the dashboard as it is to be answered: with what was counted where something can be counted."""
    names = set(re.findall(r"\bbowerbird_[a-z_]+", expression))
    if names - NEVER_IN_A_GOOD_SERVICE:
        expression = expression.replace(OR_ZERO, "")
    return expression.replace("$__rate_interval", RATE_INTERVAL)


def has_data(url: str, query: str) -> bool:
    """Tell whether a query is answered with a number that a panel can show."""
    series = ask(url, "query", query=query)["result"]
    return any(math.isfinite(float(each["value"][1])) for each in series)


async def load(service: Composed, seconds: float = math.inf) -> None:
    """Let a little of everything flow: requests, feedback in time and late, and what cannot be used."""
    config = service.config()
    admin = AIOKafkaAdminClient(bootstrap_servers=config.brokers)
    await admin.start()
    await admin.create_topics([NewTopic("replies.check", 1, 1)])
    await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=config.brokers)
    await producer.start()
    reply = [("reply-topic", b"replies.check"), ("correlation-id", b"1")]
    actions = [{"id": name, "features": {"item": {"kind": name}}} for name in ("boots", "hat")]

    async def send(topic: str, record: Any, headers: Any = None) -> None:
        value = record if isinstance(record, bytes) else json.dumps(record).encode()
        await producer.send_and_wait(topic, value, headers=headers)

    ends, number = time.monotonic() + seconds, 0
    try:
        while time.monotonic() < ends:
            number += 1
            name = f"visit-{number}"
            request = {
                "event_id": name,
                "placement": "front",
                "context": {"user": {"city": "Lyon"}},
                "actions": actions,
            }
            await send("decision-requests", request, reply)
            await send("views", {"event_id": name, "id": "view"})
            await send("clicks" if number % 2 else "purchases", {"event_id": name, "id": "one", "value": 2})
            if number % 5 == 0:
                await send("decision-requests", {**request, "placement": "unknown"}, reply)
                await send("decision-requests", {**request, "event_id": f"inactive-{number}", "activate": False}, reply)
                await send("clicks", b"no JSON")
                await send("decisions", _external(f"external-{number}", actions))
            if number > 50:
                await send("clicks", {"event_id": f"visit-{number - 50}", "id": "late"})
            await asyncio.sleep(0.1)
    finally:
        await producer.stop()


def _external(event_id: str, actions: list[Any]) -> dict[str, Any]:
    rule = {"window_s": 2.0, "early_s": 3.0, "reward": {"streams": {"clicks": {"weight": 1.0}}}}
    return {
        "v": 1,
        "event_id": event_id,
        "placement": "front",
        "policy": "front",
        "context": {"user": {"city": "Lyon"}},
        "actions": actions,
        "pmf": [0.5, 0.5],
        "chosen": "hat",
        "propensity": 0.5,
        "ranking": ["hat", "boots"],
        "policy_version": "external",
        "rule": rule,
    }


def kill_a_role(service: Composed) -> None:
    """Kill one role with -9; its supervisor starts it again, and counts it."""
    with urlopen(f"http://{HOST}:{service.supervisor_port('learn')}/health", timeout=5) as answer:
        os.kill(json.load(answer)["roles"]["learn"]["pid"], signal.SIGKILL)


async def look(service: Composed, url: str) -> None:
    """Wait until Prometheus reaches everything, its rules are in order, and every query has data."""
    dashboard = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
    waiting = {
        f"{panel['title']}: {target['legendFormat']}": query_to_ask(target["expr"])
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    }
    total, give_up = len(waiting), time.monotonic() + ANSWERED_WITHIN_S
    killed = False
    while waiting and time.monotonic() < give_up:
        with suppress(URLError, ConnectionError):
            with_data = await asyncio.to_thread(
                lambda: [name for name, query in waiting.items() if has_data(url, query)]
            )
            for name in with_data:
                del waiting[name]
            if not killed and len(waiting) < total / 2:
                kill_a_role(service)
                killed = True
        await asyncio.sleep(1)
    if waiting:
        empty = "\n".join(f"  {name}\n    {query}" for name, query in waiting.items())
        raise DeploymentError(f"panels without data after {ANSWERED_WITHIN_S:g} s:\n{empty}")
    say(f"ok   {total} queries of the dashboard have data")
    await until_all_answer(url)
    broken = [rule for group in ask(url, "rules")["groups"] for rule in group["rules"] if rule["health"] != "ok"]
    if broken:
        raise DeploymentError(f"rules that Prometheus cannot evaluate: {broken}")
    say("ok   every alert rule is evaluated")


async def until_all_answer(url: str) -> None:
    """Wait until every target answers; the killed role needs a moment."""
    give_up = time.monotonic() + ANSWERED_WITHIN_S
    while True:
        targets = ask(url, "targets")["activeTargets"]
        down = [target["scrapeUrl"] for target in targets if target["health"] != "up"]
        if not down and len(targets) == 2 * len(ROLES):
            say(f"ok   {len(targets)} targets answer")
            return
        if time.monotonic() > give_up:
            raise DeploymentError(f"{len(targets)} targets, expected {2 * len(ROLES)}; without an answer: {down}")
        await asyncio.sleep(0.5)


async def run(service: Composed, url: str) -> None:
    """Look while the load flows."""
    flowing = asyncio.create_task(load(service))
    looking = asyncio.create_task(look(service, url))
    done, _ = await asyncio.wait([flowing, looking], return_when=asyncio.FIRST_COMPLETED)
    for task in (flowing, looking):
        task.cancel()
    await asyncio.gather(flowing, looking, return_exceptions=True)
    for task in done:
        task.result()


def check() -> None:
    """Check everything.

    Raises
    ------
    DeploymentError
        With what is wrong.
    """
    judge_files()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bowerbird-check-deploy-")))
        installed = install(folder)
        say("ok   installed as in the Dockerfile")
        service = stack.enter_context(composed(installed, OVERRIDES))
        if (created := service.run("topics", "create")).returncode:
            raise DeploymentError(f"topics create: {created.stderr}")
        for role in ROLES:
            service.start(role)
        service.until_ready()
        if unhealthy := [role for role in ROLES if service.health(role)]:
            raise DeploymentError(f"the image's health check fails for {', '.join(unhealthy)}")
        say(f"ok   {', '.join(ROLES)} are ready and healthy")
        prometheus, url = start_prometheus(service, folder)
        stack.callback(prometheus.stop, 10.0)
        asyncio.run(run(service, url))


def main() -> int:
    """Check everything, and return the exit code."""
    try:
        check()
    except (DeploymentError, BowerbirdError) as failed:
        say(f"FAIL {failed}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
