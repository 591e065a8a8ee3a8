"""What assets are handed: the workspace (settings and lake) of this process."""

from __future__ import annotations

import dagster as dg

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
