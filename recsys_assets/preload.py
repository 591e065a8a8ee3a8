"""What the fork server of a run's steps loads before the first one: the definitions, and what every step imports to
report to the instance.

A step that must import this for itself starts in 4 to 7 s.
"""

import dagster._core.storage.sqlite_storage  # noqa: F401

from recsys_assets.definitions import defs

defs()
