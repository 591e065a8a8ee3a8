"""The service as a Bento, built without the orchestrator in it."""

import dagster as dg

from recsys_assets.resources import Workspace


@dg.asset(deps=["bundle"], kinds={"bentoml"}, owners=["team:recsys"])
def bento(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
    """The Bento of the service; the same code, packages and champion are built once. Its store is in RECSYS_HOME."""
    import json
    import os
    import subprocess
    import sys

    from recsys.registry import Registry

    champion = Registry(workspace.lake.registry).alias_id() or "none"
    home = workspace.settings.home / "bentoml"
    home.mkdir(parents=True, exist_ok=True)
    # A process of its own: the host and the service never import each other.
    ended = subprocess.run(
        [sys.executable, "-m", "bentos.recommender.build", "--bundle", champion],
        env={**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "true"},
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        context.log.error(ended.stderr)
        last = ended.stderr.strip().splitlines()[-1:] or ["it ended without a word"]
        raise dg.Failure(f"the Bento could not be built: {last[0]:.300}")
    built = json.loads(ended.stdout)
    return dg.MaterializeResult(
        metadata={
            "tag": built["tag"],
            "path": dg.MetadataValue.path(built["path"]),
            "packages": built["packages"],
            "built_now": built["built"],
        },
        data_version=dg.DataVersion(built["tag"]),
    )
