"""What the fork server of a run's steps loads before the first step: the definitions, and what every step imports to
report to the instance.

The first building of the definitions in a process takes 4 to 7 s, what the instance imports 1 s.
"""

import dagster._core.storage.sqlite_storage  # noqa: F401

from recsys_assets.definitions import defs

defs()
