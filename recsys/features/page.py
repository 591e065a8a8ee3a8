"""docs/features.md from the catalogue: `python -m recsys.features.page > docs/features.md` (make docs)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from recsys.events import DAY_MS, HOUR_MS, MINUTE_MS
from recsys.features.catalog import AGGREGATES, FEATURE_DEFINITIONS, FINGERPRINT, VIEWS
from recsys.features.definition import Feature, FeatureView, Measure, Window

# What an operation of derive.py does, a its first input, b its second, c its constants in order.
OPERATIONS: Final = {
    "ratio": "(a·c3 + c1·c2) / (b + c2), at most c4: a rate that begins at its prior c1, worth c2",
    "log1p": "ln(1 + max(a, 0)·c1)",
    "since": "ln(1 + max(a - b, 0)·c1), c2 where b is 0: it never happened",
    "trend": "(a + c1) / (b / c2 + c1): 1 is steady",
    "fraction": "(a / third + c1·c2) / (b + c2), at most c3; c1 where the third input is 0",
    "value": "a",
    "bucket": "(a xor (a >> 32)) and (c1 - 1), bit by bit with an arithmetic shift; c2 where a is 0, none",
    "names": "1 where the code of the word b is one of the codes of the last search a, else 0",
    "modulo": "((a + b) // c1 + c3) modulo c2, in integers, // downwards",
}
_WHAT: Final = {
    "count": "number",
    "sum": "sum of watch_ms",
    "latest": "latest instant",
    "last": "last words",
    "decayed": "decayed sum",
}
EXAMPLE: Final = """\
Feature(
    "user_play_rate_7d",
    "ratio",
    ("user_plays_count_7d", "user_impressions_count_7d"),
    (0.4, 10.0, 1.0, 2.0),
    0.4,
    (0.0, 2.0),
    "plays per impression over 7d, with a prior of 0.4 worth 10 impressions",
)
"""
_HEAD: Final = """\
# The features

Written by `make docs` from [catalog.py](../recsys/features/catalog.py); a test holds it to the code. Fingerprint
`{fingerprint}`, {features} features from {aggregates} aggregates.

**To add a feature**, add one declaration to `FEATURE_DEFINITIONS`:

```python
{example}```

Names, online state, training rows, the service's reads, the check of its range, its replay and this page follow.
The fingerprint changes, so `make run` (or materializing `online_state` and the models) comes before the service takes
it. An aggregate that is not below is one more `Measure` in a view: its columns are named
`{{entity}}_{{measure}}_{{op}}_{{window}}`. A new operation is a branch in `derive.py` and an entry in `OPS`. What
windows, positions and late events mean is in [consistency.md](consistency.md).
"""


def features_page() -> str:
    """The whole page as Markdown."""
    head = _HEAD.format(
        fingerprint=FINGERPRINT, features=len(FEATURE_DEFINITIONS), aggregates=len(AGGREGATES), example=EXAMPLE
    )
    lines = [head, "## Features", ""]
    lines += ["| feature | what it says | definition | default | valid range |", "| --- | --- | --- | --- | --- |"]
    lines += [_row(feature) for feature in FEATURE_DEFINITIONS]
    lines += ["", "Operations, with a, b the inputs and c1, c2, ... the constants:", ""]
    lines += ["| operation | |", "| --- | --- |", *(f"| `{op}` | {words} |" for op, words in OPERATIONS.items())]
    lines += ["", "## Views", "", "What is kept for each entity, as int64. Windows are sawtooth: length/hop.", ""]
    return "\n".join(lines) + "\n" + views_table(VIEWS)


def views_table(views: Sequence[FeatureView]) -> str:
    """What is kept for each entity, as a table of Markdown."""
    lines = ["| entity | keys | measure | events | windows |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*lines, *(row for view in views for row in _view(view))]) + "\n"


def _row(feature: Feature) -> str:
    arguments = ", ".join((*feature.inputs, *map(_number, feature.constants)))
    low, high = feature.valid_range
    doc = re.sub(r"\|", r"\\|", feature.doc)
    return f"| `{feature.name}` | {doc} | `{feature.op}({arguments})` | {feature.default:g} | {low:g} to {high:g} |"


def _number(constant: float) -> str:
    return f"1/{1 / constant:.0f}" if 0 < constant < 0.01 else f"{constant:g}"


def _span(measure: Measure, window: Window) -> str:
    if measure.op == "decayed":
        return f"halved every {window.name}"
    hop = {5 * MINUTE_MS: "5 min", HOUR_MS: "1 h", DAY_MS: "1 d"}
    return f"{window.name}/{hop[window.hop_ms]}" if window.hop_ms else window.name


def _view(view: FeatureView) -> list[str]:
    keys, rows = ", ".join(view.entity.parts), []
    spans: dict[str, list[str]] = {}
    measures = {m.name: m for aggregation in view.aggregations for m in aggregation.measures}
    for aggregation in view.aggregations:
        for measure in aggregation.measures:
            spans.setdefault(measure.name, []).extend(_span(measure, window) for window in aggregation.windows)
    for name, measure in measures.items():
        told = ", ".join(measure.kinds)
        if measure.weights:
            told = ", ".join(f"{kind} x {weight}" for kind, weight in zip(measure.kinds, measure.weights, strict=True))
        rows.append(f"`{name}`, {_WHAT[measure.op]} | {told} | {', '.join(spans[name])}")
    if view.session is not None:
        rows.append(
            f"the running session's start and events | {', '.join(view.session.kinds)} | {view.session.gap.name}"
        )
    if view.recent is not None:
        rows.append(f"the last {view.recent.length} with their kinds | {', '.join(view.recent.kinds)} | all")
    return [f"| {view.entity.name} | {keys} | {row} |" for row in rows]


if __name__ == "__main__":
    print(features_page(), end="")
