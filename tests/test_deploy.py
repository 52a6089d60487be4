"""The files of the deployment against each other, the settings and the metrics; no server is needed."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import prometheus_client
import pytest

from bowerbird.settings import load
from embedded import jars
from stream import metrics
from stream.role import ROLES
from tests.compose import COMPOSE_FILE, DEPLOY, ROLE_SERVICES, ROOT, image, read_yaml, services
from tests.test_imports import MAY_IMPORT

DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboard.json").read_text(encoding="utf-8"))
OPERATE = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
ALERTS = read_yaml(DEPLOY / "prometheus" / "alerts.yml")["groups"][0]["rules"]
NAME = re.compile(r"\bbowerbird_[a-z_]+")


def series() -> Iterator[tuple[str, list[str]]]:
    """Yield the name of every series of stream.metrics, and the labels that it may have."""
    for value in vars(metrics).values():
        if isinstance(value, prometheus_client.metrics.MetricWrapperBase):
            labels = list(value._labelnames)
            kinds = {"counter": ["_total"], "gauge": [""], "histogram": ["_bucket", "_sum", "_count"]}
            for ending in kinds[str(value._type)]:
                yield value._name + ending, [*labels, "le"] if ending == "_bucket" else labels


SERIES = dict(series())


def panels() -> list[Any]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def test_the_compose_file_is_one() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(COMPOSE_FILE)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_role_has_a_service_and_every_image_a_version() -> None:
    by_name = services()
    assert ROLE_SERVICES == ROLES
    for role in ROLES:
        assert by_name[role].command == ["worker", "--roles", role]
    foreign = {each.image for each in by_name.values()} - {"bowerbird"}
    assert all(re.search(r":v?\d+\.\d+\.\d+$", name) for name in foreign), foreign
    # The tests run the very broker.
    assert by_name["kafka"].image == f"apache/kafka:{jars.KAFKA_VERSION}"


def test_nothing_is_published_beyond_this_machine() -> None:
    for name, service in read_yaml(COMPOSE_FILE)["services"].items():
        for port in service.get("ports", []):
            assert str(port).startswith("127.0.0.1:"), name


def test_every_volume_is_declared_and_every_mounted_file_is_there() -> None:
    compose = read_yaml(COMPOSE_FILE)
    mounts = [mount.split(":")[0] for service in compose["services"].values() for mount in service.get("volumes", [])]
    assert {mount for mount in mounts if not mount.startswith(".")} == set(compose["volumes"])
    for mount in mounts:
        assert not mount.startswith(".") or (ROOT / mount).exists(), mount


def test_the_settings_of_every_service_are_right() -> None:
    environment = image().environment
    for name in ("topics", *ROLES):
        config = load(DEPLOY / "bowerbird.toml", {**environment, **services()[name].environment})
        assert config.roles == ROLES
        assert config.metrics_host == "0.0.0.0"


def test_the_image_runs_as_nobody_and_holds_all_packages() -> None:
    built = image()
    assert int(built.user) > 0
    assert set(MAY_IMPORT) - {"clients"} <= set(built.copied)
    allowed = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE)
    assert sorted(allowed) == sorted(built.copied)
    for name in built.copied:
        assert (ROOT / name).exists(), name


def test_ports_follow_the_order_of_the_roles() -> None:
    built = image()
    first = int(built.environment["BOWERBIRD_METRICS_PORT"])
    jobs = {job["job_name"]: job for job in read_yaml(DEPLOY / "prometheus" / "prometheus.yml")["scrape_configs"]}
    assert set(jobs) == {*ROLES, "supervisor"}
    for place, name in enumerate((*ROLES, "supervisor")):
        (discovery,) = jobs[name]["dns_sd_configs"]
        assert discovery["port"] == first + place
        assert discovery["names"] == ([name] if name in ROLES else list(ROLES))
    assert f":{first + len(ROLES)}/health" in built.health[-1]


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_asks_for_metrics_that_exist(panel: Any) -> None:
    source = read_yaml(DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml")["datasources"][0]
    assert panel["description"]
    for target in panel["targets"]:
        assert target["datasource"]["uid"] == source["uid"]
        check(target["expr"])
        labels = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        grouped = re.search(r"by \(([^)]+)\)", target["expr"])
        assert labels <= set(grouped.group(1).split(", ") if grouped else [])


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_asks_for_metrics_that_exist_and_is_explained_and_tested(alert: Any) -> None:
    check(alert["expr"])
    assert f"| `{alert['alert']}` |" in OPERATE
    tests = read_yaml(DEPLOY / "prometheus" / "alerts_test.yml")["tests"]
    fires = [each for test in tests for each in test["alert_rule_test"] if each["exp_alerts"]]
    assert alert["alert"] in {each["alertname"] for each in fires}


def check(expression: str) -> None:
    """Refuse names that no metric has, and labels that its metrics do not have."""
    names = NAME.findall(expression)
    assert set(names) <= set(SERIES), set(names) - set(SERIES)
    for name, matchers in re.findall(r"\b(bowerbird_[a-z_]+){([^}]*)}", expression):
        assert set(re.findall(r"(\w+)[=!]", matchers)) <= set(SERIES[name]), name
    for grouped in re.findall(r"by \(([^)]+)\)", expression) if names else []:
        known = {label for name in names for label in SERIES[name]}
        assert set(grouped.split(", ")) <= known, grouped


def test_every_metric_is_shown_and_explained() -> None:
    shown = {name for panel in panels() for target in panel["targets"] for name in NAME.findall(target["expr"])}
    exported = {f"{name.removesuffix('_bucket')}" for name in SERIES if not name.endswith(("_sum", "_count"))}
    assert {name.removesuffix("_bucket") for name in shown} == exported
    assert set(re.findall(r"^\| `(bowerbird_[a-z_]+)` \|", OPERATE, re.MULTILINE)) == exported


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
