"""The Bento holds the service and the core, the packages they need at the lock's versions, and no orchestrator."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

from bentos.recommender import build, stubs
from tests.conftest import ROOT

HOSTS = ("dagster", "dbt", "pyspark", "great-expectations", "evidently", "pytorch-lightning")


def test_packages_are_those_of_the_lock_and_no_host_is_among_them() -> None:
    locked = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE))
    packages = dict(line.split("==") for line in build.requirements())
    assert not [name for name in packages if name.startswith(HOSTS)]
    assert {"bentoml", "torch", "xgboost", "pymilvus", "lmdb", "grpcio", "uvicorn"} <= set(packages)
    assert {n: v for n, v in packages.items() if n in locked and locked[n] != v} == {}
    assert set(packages) - set(locked) <= {"torch", "setuptools"}  # the lock leaves these to the installer


def test_what_the_bento_is_made_of_stands_once() -> None:
    """build.py reads the file with which one builds by hand, and names no package itself."""
    packages = yaml.safe_load((ROOT / "bentos" / "recommender" / "bentofile.yaml").read_text())["python"]["packages"]
    assert {"bentoml", "grpcio", "pydantic-settings"} <= set(packages)
    said = Path(build.__file__).read_text()
    assert not [name for name in packages if f'"{name}"' in said]


def test_the_service_is_made_of_what_bentoml_offers() -> None:
    """Its inner packages move from one version to the next."""
    for file in (ROOT / "bentos").rglob("*.py"):
        assert not re.search(r"(from|import) (_bentoml|bentoml_cli|bentoml\._internal)", file.read_text()), file


def test_everything_the_service_imports_is_in_its_packages() -> None:
    code = (
        "import sys, json\n"
        "import recsys.store.lmdb_journal, recsys.store.redis_journal, recsys.ranking.xgboost_ranker\n"
        "import bentos.recommender.service, bentos.recommender.worker, recsys.serving.opening\n"
        "ours = [m for n, m in list(sys.modules.items()) if n.split('.')[0] in ('recsys', 'bentos')]\n"
        "print(json.dumps([module.__file__ for module in ours]))\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    files = [Path(name) for name in json.loads(ran.stdout.splitlines()[-1]) if name]
    assert len(files) > 30 and not [file for file in files if "recsys_assets" in file.parts]
    imported = set()
    for node in (node for file in files for node in ast.walk(ast.parse(file.read_text()))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module.partition(".")[0])
    owners = metadata.packages_distributions()
    packages = {line.split("==")[0] for line in build.requirements()}
    ours = {"recsys", "bentos"}
    of_training = {"sklearn", "matplotlib"}  # inside the functions that fit and that draw
    for name in imported - set(sys.stdlib_module_names) - ours - of_training:
        assert packages & {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners[name]}, name


def test_who_only_predicts_imports_no_torch() -> None:
    """It takes a second of CPU and 120 MiB of each worker."""
    code = (
        "import sys\n"
        "import bentos.recommender.service, bentos.recommender.worker, recsys.serving.opening\n"
        "import recsys.ranking.xgboost_ranker, recsys.ranking.mmoe, recsys.ranking.blend, recsys.ranking.factors\n"
        "print([name for name in ('torch', 'pandas', 'dagster', 'redis') if sys.modules.get(name)])\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.splitlines()[-1] == "[]"


def test_committed_stubs_are_those_of_the_proto(tmp_path: Path) -> None:
    stubs.generate(tmp_path)
    for name in ("recommender_pb2.py", "recommender_pb2.pyi", "recommender_pb2_grpc.py"):
        assert (tmp_path / name).read_text() == (stubs.FOLDER / name).read_text()


@pytest.mark.slow
def test_the_bento_is_built_once_without_a_network_and_holds_no_host(tmp_path: Path) -> None:
    def built() -> dict[str, str]:
        ended = subprocess.run(
            [sys.executable, "-m", "bentos.recommender.build", "--bundle", "0123456789abcdef"],
            env={**os.environ, "BENTOML_HOME": str(tmp_path), "http_proxy": "http://127.0.0.1:9"},
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        assert ended.returncode == 0, ended.stderr
        facts: dict[str, str] = json.loads(ended.stdout)
        return facts

    first = built()
    path = Path(first["path"])
    assert first["built"] and (path / "src" / "recsys" / "serving" / "pipeline.py").exists()
    assert (path / "src" / "bentos" / "recommender" / "recsys_v1" / "recommender.proto").exists()
    assert not (path / "src" / "recsys_assets").exists() and not (path / "src" / "tests").exists()
    requirements = (path / "env" / "python" / "requirements.txt").read_text()
    assert "xgboost==" in requirements and not any(host in requirements for host in HOSTS)
    assert "://" not in requirements  # no index address
    again = built()
    assert not again["built"] and again["tag"] == first["tag"]
