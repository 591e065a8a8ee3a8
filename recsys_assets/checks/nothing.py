"""`0 of 0` is neither proof nor failure: a check that had nothing to look at says so, and stands in nobody's way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import dagster as dg

MARK: Final = "nothing_to_check"


def nothing(
    words: str,
    *,
    check_name: str | None = None,
    asset_key: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> dg.AssetCheckResult:
    """A result that neither passed nor failed. Dagster knows the two alone, so it is a warning, which blocks nothing;
    what stands in the way of a promotion, or calls for a retrain, leaves it out (`has_failed`).

    Args:
        words: what there was nothing of.
    """
    return dg.AssetCheckResult(
        check_name=check_name,
        asset_key=asset_key,
        passed=False,
        severity=dg.AssetCheckSeverity.WARN,
        description=words,
        metadata={**(metadata or {}), MARK: True},
    )


def is_nothing(evaluation: dg.AssetCheckEvaluation) -> bool:
    """Whether a check had nothing to look at."""
    return MARK in evaluation.metadata


def has_failed(evaluation: dg.AssetCheckEvaluation) -> bool:
    """Whether a check looked at something, and it did not hold."""
    return not evaluation.passed and not is_nothing(evaluation)
