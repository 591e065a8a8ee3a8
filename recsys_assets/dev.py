"""`make dev`: the Dagster UI and daemon on the real graph, keeping their state under RECSYS_HOME."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from recsys.settings import SettingsError, from_environment
from recsys_assets.home import HomeError, prepare


def main() -> int:
    try:
        prepare(from_environment())
    except (SettingsError, HomeError) as error:
        print(error, file=sys.stderr)
        return 2
    dagster = Path(sys.executable).with_name("dagster")
    port = os.environ.get("RECSYS_DAGSTER_PORT", "3070")
    os.execv(dagster, [str(dagster), "dev", "-w", "workspace.yaml", "-h", "127.0.0.1", "-p", port])
    return 0


if __name__ == "__main__":
    sys.exit(main())
