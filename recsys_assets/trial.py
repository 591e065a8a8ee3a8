"""`make try`: a challenger on a share of the users; running services follow within two seconds."""

from __future__ import annotations

import argparse
import sys

from recsys.features.catalog import FINGERPRINT
from recsys.lake import Lake
from recsys.registry import Registry, RegistryError
from recsys.settings import SettingsError, from_environment


def main() -> int:
    """One line either way; status 2 when the trial cannot be."""
    parser = argparse.ArgumentParser(prog="trial", description="try a bundle on a share of the users")
    parser.add_argument("bundle", help="its id; `registry/bundles` in RECSYS_HOME has them")
    parser.add_argument("--canary", type=float, default=0.0, help="share of the users that it answers")
    parser.add_argument("--shadow", type=float, default=0.0, help="share for whom it ranks unseen")
    asked = parser.parse_args()
    try:
        registry = Registry(Lake(from_environment().home).registry)
        registry.try_out(asked.bundle, canary=asked.canary, shadow=asked.shadow, held=FINGERPRINT, reason="make try")
    except (SettingsError, RegistryError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"challenger {asked.bundle}: answers {asked.canary:.0%} of the users, ranks unseen for {asked.shadow:.0%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
