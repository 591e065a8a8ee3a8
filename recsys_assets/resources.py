"""What assets are handed: the workspace (settings and lake) of this process, and Spark beyond one machine."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import dagster as dg
from dagster_pyspark import LazyPySparkResource

from recsys.lake import Lake
from recsys.settings import Settings, from_environment


class Workspace(dg.ConfigurableResource):  # type: ignore[type-arg]
    """RECSYS_HOME and the settings beside it, read from the environment when an asset asks for them."""

    @property
    def settings(self) -> Settings:
        return from_environment()

    @property
    def lake(self) -> Lake:
        return Lake(self.settings.home)


def spark(settings: Settings) -> LazyPySparkResource:
    """A session that starts when an asset first asks for it (20 s), and costs nothing otherwise."""
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # the workers' Python; Spark takes python3 otherwise
    here = {
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.sql.shuffle.partitions": "4",
    }
    return LazyPySparkResource(
        spark_config={
            "spark.master": settings.spark_master,
            # beyond this machine these are the cluster's own, in SPARK_CONF_DIR/spark-defaults.conf
            **(here if settings.spark_master.startswith("local") else {}),
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
            "spark.sql.session.timeZone": "UTC",
            "spark.executorEnv.PYTHONPATH": str(Path(__file__).parents[1]),
        }
    )
