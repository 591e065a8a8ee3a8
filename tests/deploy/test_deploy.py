"""The deployment files hold by their own validators, and name only settings and metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from bentos.recommender.metrics import Metrics
from bentos.recommender.stream import Told
from recsys.settings import Settings, SettingsError, from_environment
from recsys.stream.consumer import Progress
from tests.conftest import ROOT

DEPLOY = ROOT / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
VARIABLES = {f"RECSYS_{name.upper()}" for name in Settings.model_fields}


def documents(path: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text()) if document]


def test_compose_holds_by_the_compose_specification() -> None:
    command = [str(Path(sys.executable).with_name("check-jsonschema")), "--builtin-schema", "vendor.compose-spec"]
    ended = subprocess.run([*command, str(DEPLOY / "compose.yaml")], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
@pytest.mark.parametrize("version", ["1.29", "1.37"])
def test_manifests_hold_by_the_schemas_of_kubernetes(path: Path, version: str) -> None:
    for document in documents(path):
        kubernetes_validate.validate(document, version, strict=True)


def test_manifests_point_at_each_other() -> None:
    every = [document for path in MANIFESTS for document in documents(path)]
    names = {(document["kind"], document["metadata"]["name"]) for document in every}
    assert {("HorizontalPodAutoscaler", "recommender"), ("PodDisruptionBudget", "recommender")} <= names
    assert {("StatefulSet", name) for name in ("redis", "milvus", "postgres")} <= names
    labels = {
        d["metadata"]["name"]: d["spec"]["template"]["metadata"]["labels"]
        for d in every
        if "template" in d.get("spec", {})
    }
    for document in every:
        if document["kind"] == "Service":
            assert document["spec"]["selector"] in labels.values()
        text = json.dumps(document)
        for kind, pattern in (
            ("ConfigMap", r'"configMapRef": {"name": "([\w-]+)"'),
            ("Secret", r'"secret(?:Ref|KeyRef)": {(?:"key": "\w+", )?"name": "([\w-]+)"'),
            ("Secret", r'"secret": {"secretName": "([\w-]+)"'),
            ("PersistentVolumeClaim", r'"claimName": "([\w-]+)"'),
        ):
            for name in re.findall(pattern, text):
                assert (kind, name) in names, (kind, name)
    service = next(d for d in every if (d["kind"], d["metadata"]["name"]) == ("Deployment", "recommender"))
    container = service["spec"]["template"]["spec"]["containers"][0]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"


@pytest.mark.parametrize("path", [DEPLOY / "compose.yaml", *MANIFESTS], ids=lambda path: path.name)
def test_every_setting_named_is_one_of_ours(path: Path) -> None:
    named = set(re.findall(r"RECSYS_[A-Z_]+", path.read_text()))
    assert named <= VARIABLES, named - VARIABLES


def test_the_manifests_secrets_do_not_pass_as_they_are() -> None:
    """Whoever applies them unchanged gets no service with a key that is in a public repository."""
    secrets = [d for d in documents(DEPLOY / "kubernetes" / "config.yaml") if d["kind"] == "Secret"]
    given = {name: value for secret in secrets for name, value in secret["stringData"].items()}
    assert given.pop("POSTGRES_PASSWORD") == ""  # which its image refuses
    assert set(given) == {"RECSYS_API_KEYS"}
    with pytest.raises(SettingsError, match="RECSYS_API_KEYS"):
        from_environment(given)


@pytest.mark.parametrize("path", ["grafana/recommender.json", "prometheus/alerts.yaml"])
def test_every_metric_asked_for_is_one_that_the_service_has(path: str) -> None:
    names = set()
    for family in (*Metrics()._registry.collect(), *Told(Progress()).collect()):
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "summary": ["_sum", "_count"]}
        names |= {family.name + suffix for suffix in suffixes.get(family.type, [""])}
    asked = set(re.findall(r"recsys_[a-z_]+", (DEPLOY / path).read_text()))
    assert len(asked) > 3 and asked <= names, asked - names


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    dashboard = json.loads((DEPLOY / "grafana" / "recommender.json").read_text())
    assert {"uid", "title", "schemaVersion", "panels"} <= set(dashboard)
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"]) > 10
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)


def test_what_the_images_copy_is_there() -> None:
    for name in ("service.Dockerfile", "dagster.Dockerfile"):
        for line in (DEPLOY / name).read_text().splitlines():
            if line.startswith("COPY"):
                assert (ROOT / line.split()[1]).exists(), line


def test_the_service_image_installs_what_the_lock_holds() -> None:
    """The very commands of the image: names out of the bentofile, each of which the lock pins."""
    command = "grep -A1000 'packages:' bentos/recommender/bentofile.yaml | sed -n 's/^ *- //p'"
    assert command in (DEPLOY / "service.Dockerfile").read_text()
    wanted = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    for image in ("service", "dagster"):  # no lock holds torch: the version of `make setup`
        torch = re.findall(r"torch==[\d.]+", (DEPLOY / f"{image}.Dockerfile").read_text())
        assert torch and set(torch) == set(re.findall(r"torch==[\d.]*\d(?=[',\s])", (ROOT / "Makefile").read_text()))
    lock = (ROOT / "requirements.lock").read_text().lower()
    pinned = set(re.findall(r"^([a-z0-9._-]+)(?:\[[^]]*\])?==", lock, re.MULTILINE)) | {"torch"}
    names = {re.split(r"[\[=<>]", line)[0].lower().replace("_", "-") for line in wanted}
    assert len(names) > 10 and names <= pinned, names - pinned


def test_dagsters_configuration_is_one_that_dagster_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster._core.instance.config import dagster_instance_config

    for name in ("HOST", "USER", "PASSWORD", "DB"):
        monkeypatch.setenv(f"DAGSTER_PG_{name}", "x")
    config, _ = dagster_instance_config(str(DEPLOY / "dagster"))  # raises for whatever it does not know
    ours, _ = dagster_instance_config(str(ROOT / "recsys_assets"))
    assert config["concurrency"]["pools"] == ours["concurrency"]["pools"] == {"default_limit": 1}
    assert config["concurrency"]["runs"]["max_concurrent_runs"] == 1 and config["telemetry"]["enabled"] is False
    workspace = yaml.safe_load((DEPLOY / "dagster" / "workspace.yaml").read_text())
    for place in workspace["load_from"]:
        assert (ROOT / place["python_module"].replace(".", "/")).with_suffix(".py").exists()


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_prometheus_takes_its_rules_and_configuration(tmp_path: Path) -> None:
    alerts, config = tmp_path / "alerts.yaml", tmp_path / "prometheus.yaml"
    alerts.write_text((DEPLOY / "prometheus" / "alerts.yaml").read_text())
    config.write_text((DEPLOY / "prometheus" / "prometheus.yaml").read_text().replace("/etc/prometheus/", ""))
    ended = subprocess.run(["promtool", "check", "config", str(config)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0 and "rules found" in ended.stdout, ended.stdout + ended.stderr
