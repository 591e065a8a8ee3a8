"""Build the Bento: the service and the core with exactly the packages they need, no orchestrator, no network.

    python -m bentos.recommender.build [--bundle BUNDLE_ID]

prints {"tag", "path", "packages", "built"} as one line of JSON. The version is the hash of the code, the packages and
the bundle it was built for, so that the same build is made once. The bundle itself stays in the registry, which the
running service follows; a deployment mounts RECSYS_HOME.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
# The packages stand there: what the service imports itself; what those need is found in the environment.
BENTOFILE: Final[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("bentofile.yaml").read_text())


def requirements() -> list[str]:
    """The bentofile's packages and all they need, at the installed versions: sorted lines of a requirements file."""
    from packaging.requirements import Requirement

    pinned: dict[str, str] = {}
    waiting: list[tuple[str, frozenset[str]]] = [(name, frozenset()) for name in BENTOFILE["python"]["packages"]]
    done = set()
    while waiting:
        name, extras = waiting.pop()
        key = re.sub(r"[-_.]+", "-", name).lower()
        if (key, extras) in done:
            continue
        done.add((key, extras))
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # left out of the lock on purpose (the CUDA packages that xgboost asks for)
        pinned[key] = distribution.version.split("+")[0]  # torch's +cpu is a choice of the index, not of the lock
        for line in distribution.requires or []:
            need = Requirement(line)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in (extras or {""})):
                waiting.append((need.name, frozenset(need.extras)))
    return [f"{name}=={version}" for name, version in sorted(pinned.items())]


def code_version(packages: list[str], bundle: str) -> str:
    """Version of a build: hash of what goes into it."""
    digest = hashlib.sha256("\n".join([*packages, bundle]).encode())
    files = [path for pattern in BENTOFILE["include"] for path in ROOT.glob(f"{pattern}/*")]
    for path in sorted(p for p in files if p.is_file() and "__pycache__" not in p.parts):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def build(bundle: str) -> dict[str, object]:
    """Build, or find the same build; BENTOML_HOME says where it lies."""
    import bentoml
    from bentoml.exceptions import NotFound

    packages = requirements()
    version = code_version(packages, bundle)
    tag = f"recommender:{version}"
    facts: dict[str, object] = {"tag": tag, "packages": len(packages)}
    try:
        return {**facts, "path": bentoml.bentos.get(tag).path, "built": False}
    except NotFound:
        pass
    made = bentoml.bentos.build(
        service=BENTOFILE["service"],
        name=BENTOFILE["name"],
        version=version,
        labels={"bundle": bundle},
        include=BENTOFILE["include"],
        exclude=BENTOFILE["exclude"],
        python={"packages": packages, "lock_packages": False},
        build_ctx=str(ROOT),
    )
    return {**facts, "path": made.path, "built": True}


def main() -> None:
    parser = argparse.ArgumentParser(description="build the Bento")
    parser.add_argument("--bundle", default="none", help="id of the bundle it is built for, kept as a label")
    arguments = parser.parse_args()
    os.environ.setdefault("BENTOML_DO_NOT_TRACK", "true")
    sys.path.insert(0, str(ROOT))
    output, sys.stdout = sys.stdout, sys.stderr  # BentoML prints a banner
    facts = build(arguments.bundle)
    print(json.dumps(facts), file=output)


if __name__ == "__main__":
    main()
