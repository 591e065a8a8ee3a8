"""`make upgrade [DROP=<fingerprint>]`: builds the online state of this code's features beside that of the services."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recsys.features.catalog import FINGERPRINT
from recsys.lake import Lake
from recsys.registry import Registry, RegistryError
from recsys.settings import Settings, SettingsError, from_environment
from recsys.store.errors import StoreError
from recsys.store.opening import open_journal
from recsys.store.upgrade import build_beside
from recsys_assets.home import HomeError, one_run_at_a_time


def upgraded(settings: Settings, drop: str = "") -> str:
    """Build it, or drop one, and say so in one line.

    Raises:
        RegistryError: there is no champion, or it has the features that are to be built or dropped.
        StoreError: it was not built, and nothing is left of it.
    """
    champion = Registry(Lake(settings.home).registry).champion()
    if champion is None:
        raise RegistryError("no bundle is in service, so there is nothing to upgrade beside: run `make run`")
    served = champion.facts.features
    if served == (drop or FINGERPRINT):
        what = "dropped while its bundle serves" if drop else "upgraded: this code has them too"
        raise RegistryError(f"the champion is of features {served}, which cannot be {what}")
    with one_run_at_a_time(settings):
        journal = open_journal(settings)
        try:
            if drop:
                if not journal.mark(drop).snapshot:
                    raise StoreError(f"the online store holds no state of features {drop}: nothing was dropped")
                journal.drop(drop)
                return f"the state of features {drop} is dropped; {served} serves as before"
            position, values = build_beside(journal, served)
        finally:
            journal.close()
    return (
        f"the state of features {FINGERPRINT} stands beside {served}: {values:,} values equal a replay at position "
        f"{position}. Next: `make run` for a bundle of it; services of before go on. DROP={FINGERPRINT} drops it again"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """One line either way; status 2 when nothing was done."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        print(upgraded(from_environment(), given[0] if given else ""))
    except (SettingsError, RegistryError, StoreError, HomeError, OSError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
