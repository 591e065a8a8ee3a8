"""`make plan USERS= ITEMS= EVENTS= QPS=`: what a size takes; without numbers, docs/capacity.md."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recsys.capacity.page import told
from recsys.capacity.plan import PlanError, Size

NAMES = ("USERS", "ITEMS", "EVENTS", "QPS")


def main(arguments: Sequence[str] | None = None) -> int:
    """The plan, a line a number; status 2 when a number is none."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        numbers = []
        for name, text in zip(NAMES, [*given, "", "", "", ""], strict=False):
            if not text.replace("_", "").replace(",", "").isdecimal():
                raise PlanError(
                    f"{name}={text:.40}: make plan takes whole numbers, USERS and EVENTS of a day, ITEMS, QPS"
                )
            numbers.append(int(text.replace("_", "").replace(",", "")))
        print(told(Size(*numbers)))
    except PlanError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
