"""`make rollback`: the champion is again the bundle that it was before; running services follow within two seconds."""

from __future__ import annotations

import sys

from recsys.features.catalog import FINGERPRINT
from recsys.lake import Lake
from recsys.registry import Registry, RegistryError
from recsys.settings import Settings, SettingsError, from_environment


def roll_back(settings: Settings, reason: str) -> str:
    """Point champion at the bundle before, and say so in one line.

    Raises:
        RegistryError: there is none, or it is damaged or does not fit these features; nothing was changed.
    """
    registry = Registry(Lake(settings.home).registry)
    left = registry.alias_id()
    if left is None:
        raise RegistryError("no bundle was ever promoted, so there is none to go back to: run `make run` first")
    bundle = registry.rollback(held=FINGERPRINT, reason=reason)
    return f"champion is bundle {bundle.bundle_id} again, it was {left}"


def main() -> int:
    """One line either way; status 2 when there is nothing to go back to."""
    try:
        print(roll_back(from_environment(), "make rollback"))
    except (SettingsError, RegistryError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
