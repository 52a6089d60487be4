"""Rule 6 of the house: a role is declared once, in :mod:`stream.role`; the rest derives from the list, or names it."""

import ast
import json
import re
from importlib import import_module

import pytest

from bowerbird.asyncapi import document
from stream.config import LOOP_TOPICS, ArchiveConfig, Config
from stream.kafka.topics import needed
from stream.role import DECLARED, LOOP_ROLES, ROLES, SUPERVISOR_PORT
from tests.compose import DEPLOY, image, read_yaml, services
from tests.serving import served, tables
from tests.test_house import ROOMS
from tests.test_imports import ROOT, modules

OPERATE = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
ALERTS = {rule["alert"]: rule for rule in read_yaml(DEPLOY / "prometheus" / "alerts.yml")["groups"][0]["rules"]}
CONFIG = Config(archive=ArchiveConfig(url="/nowhere"), **tables({"front": served(activate_on="views")}))


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_a_module_that_builds_it(role: str) -> None:
    assert callable(import_module(f"stream.roles.{role}").build)


def lists(source: str) -> list[int]:
    """Return the lines at which a source names several roles in a row."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Tuple | ast.List | ast.Set)
        and len({each.value for each in node.elts if isinstance(each, ast.Constant)} & set(ROLES)) > 1
    ]


def test_no_other_module_lists_roles() -> None:
    paths = {path for room in ROOMS for path in modules(room)} - {ROOT / "stream" / "role.py"}
    assert {str(path) for path in paths if lists(path.read_text(encoding="utf-8"))} == set()
    assert lists('names = ["join", "other"]\nroles = ("decide", "learn")\n') == [2]


def test_every_topic_that_a_role_reads_is_made_and_described() -> None:
    read = {topic for role in DECLARED.values() for topic in role.reads}
    assert read <= set(LOOP_TOPICS)
    assert {need.name for need in needed(CONFIG)} == {*LOOP_TOPICS, *CONFIG.streams}
    assert read <= set(document()["channels"])
    assert CONFIG.read_by("join") == ["decisions", "views"]


def test_ports_are_given_once_each() -> None:
    assert [role.port for role in DECLARED.values()] == list(range(len(ROLES)))
    first = int(image().environment["BOWERBIRD_METRICS_PORT"])
    ports = ", ".join(str(first + role.port) for role in DECLARED.values())
    assert f"| {ports} | {', '.join(f'`{role}`' for role in ROLES)}, in its own container |" in OPERATE
    assert f"| {first + SUPERVISOR_PORT} | the supervisor" in OPERATE


def test_the_containers_are_one_for_each_role() -> None:
    commands = {name: each.command for name, each in services().items() if each.command[:1] == ["worker"]}
    assert commands == {role: ["worker", "--roles", role] for role in ROLES}


def test_an_alert_says_that_a_role_is_down() -> None:
    expression = ALERTS["BowerbirdRoleDown"]["expr"]
    assert re.findall(r'up{job=~"([^"]+)"}', expression) == ["|".join(ROLES)]
    assert tuple(re.findall(r'absent\(up{job="(\w+)"}\)', expression)) == LOOP_ROLES


def test_alerts_and_dashboard_name_only_roles_that_there_are() -> None:
    dashboard = (DEPLOY / "grafana" / "dashboard.json").read_text(encoding="utf-8")
    queries = [target["expr"] for panel in json.loads(dashboard)["panels"] for target in panel.get("targets", [])]
    queries += [rule["expr"] for rule in ALERTS.values()]
    assert {name for query in queries for name in re.findall(r'\brole="(\w+)"', query)} <= set(ROLES)
    # Whatever is counted by role is shown and watched by the label, not by a list.
    by_role = " ".join(query for query in queries if "by (role" in query)
    for metric in ("bowerbird_broker_up", "bowerbird_redis_up", "bowerbird_role_restarts_total", "bowerbird_input_lag"):
        assert metric in by_role
