"""`make promote`: a bundle becomes the champion by hand, with a reason; running services follow within two seconds."""

from __future__ import annotations

import argparse
import sys

from recsys.features.catalog import FINGERPRINT
from recsys.lake import Lake
from recsys.registry import Registry, RegistryError
from recsys.settings import Settings, SettingsError, from_environment

BY_HAND = "by hand"


def promote(settings: Settings, bundle_id: str, reason: str) -> str:
    """Point champion at a registered bundle whatever its gates said, and say so in one line.

    Raises:
        RegistryError: no reason; or the bundle is unknown, damaged or of other features. Nothing was changed.
    """
    if not bundle_id.strip():
        raise RegistryError('say which: make promote BUNDLE=<id> REASON="..." (reports/versions.html lists them)')
    if not reason.strip():
        raise RegistryError('say why: make promote BUNDLE=<id> REASON="..."; it is what the next one will read')
    registry = Registry(Lake(settings.home).registry)
    left = registry.alias_id()
    if left == bundle_id:
        return f"bundle {bundle_id} is the champion already: nothing was changed"
    registry.promote(bundle_id, held=FINGERPRINT, reason=f"{BY_HAND}: {reason.strip()}")
    return f"champion is bundle {bundle_id}" + (f", it was {left}; `make rollback` undoes it" if left else "")


def main() -> int:
    """One line either way; status 2 when the bundle cannot be the champion."""
    parser = argparse.ArgumentParser(prog="promote", description="make a bundle the champion by hand")
    parser.add_argument("bundle", help="its id; reports/versions.html in RECSYS_HOME lists them")
    parser.add_argument("reason", help="why; kept in the registry's history")
    asked = parser.parse_args()
    try:
        print(promote(from_environment(), asked.bundle, asked.reason))
    except (SettingsError, RegistryError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
