"""What a reader of drift.html sees first: what moved, since when, against which bound; in plain words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import Final

import polars as pl

from recsys.monitoring.day import Claim, Day
from recsys.monitoring.drift import Moved

TABLE: Final = ("monitoring", "drift")  # of the lake: the `record` of each judged day
NEAREST: Final = 3  # columns that are told where none has moved
TOLD: Final = 20  # columns that are told where some have
NAMES: Final = {"psi": "PSI", "kl": "Kullback-Leibler", "chebyshev": "Chebyshev", "jensen_shannon": "Jensen-Shannon"}
STYLE: Final = """
.drift { font: 15px/1.5 system-ui, sans-serif; color: #1b1f24; max-width: 72rem; margin: 2rem auto; padding: 0 1.5rem }
.drift h1 { font-size: 1.5rem; margin: 0 0 .5rem } .drift h2 { font-size: 1.1rem; margin: 1.6rem 0 .4rem }
.drift p { color: #57606a; margin: .3rem 0 } .drift table { border-collapse: collapse; margin: .5rem 0 1rem }
.drift th, .drift td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid #d8dee4 }
.drift td:first-child, .drift th:first-child { white-space: nowrap }
.drift td.n, .drift th.n { text-align: right; font-variant-numeric: tabular-nums }
.drift .no { color: #b42318; font-weight: 600 } .drift .yes { color: #1a7f37 }
"""


def record(judged_day: Day, against: str) -> pl.DataFrame:
    """What to keep of a judged day, one row a column: column, excess (above 1 is drift), against."""
    columns = judged_day.drift.columns
    return pl.DataFrame(
        {"column": [moved.column for moved in columns], "excess": [moved.excess for moved in columns]}
    ).with_columns(against=pl.lit(against))


def since(day: str, judged_day: Day, against: str, before: Iterable[tuple[str, pl.DataFrame]]) -> dict[str, str]:
    """For each column that has moved the first of the judged days in a row on which it had, against the same.

    Args:
        before: earlier days, the newest first, and the `record` of each; read no further than needed.
    """
    first = dict.fromkeys(judged_day.drift.drifted, day)
    still = set(first)
    if not still:
        return first
    for earlier, told in before:
        moved = told.filter((pl.col("excess") > 1.0) & (pl.col("against") == against))
        still &= set(moved["column"].to_list())
        if not still:
            break
        first.update(dict.fromkeys(still, earlier))
    return first


def html(day: str, judged_day: Day, against: str, first: Mapping[str, str]) -> str:
    """The head of the page, an HTML fragment with its style."""
    drift = judged_day.drift
    moved = len(drift.drifted)
    title = f"{moved} of {len(drift.columns)} columns have moved" if moved else "no column has moved"
    days = f"{drift.reference_days[0]} to {drift.reference_days[-1]}"
    claims = {
        "features and predictions are stable": Claim(drift.holds, title),
        "what happens is what was predicted": judged_day.level,
        "the mean predicted CTR is stable": judged_day.ctr,
        "features are complete": judged_day.complete,
    }
    checks = "".join(_claim(name, claim) for name, claim in claims.items())
    shown = drift.columns[: min(moved, TOLD) or NEAREST]
    rows = "".join(_row(column, first) for column in shown)
    words = "What moved" if moved else "Nothing moved; nearest to their bounds"
    left = f"<p>{moved - TOLD} more have moved.</p>" if moved > TOLD else ""
    return (
        f"<style>{STYLE}</style><div class=drift><h1>{escape(day)}: {title}</h1>"
        f"<p>The day's {drift.rows:,} rows against {drift.reference_rows:,} of {escape(against)}, {days}. Bounds come "
        f"from those days: {drift.false_alarms:.0%} of days on which nothing has moved would still alarm.</p>"
        f"<table>{checks}</table><h2>{words}</h2>"
        "<table><tr><th>column</th><th>moved since</th><th>distance</th><th class=n>found</th><th class=n>bound</th>"
        f"<th class=n>excess (over 1 alarms)</th></tr>{rows}</table>{left}"
        "<h2>Their distributions, by Evidently</h2><p>Each column has two tests. Ours (calibrated PSI) decides. "
        "Evidently's own takes rows to be independent. Rows of one user are not, so it often fails on days on which "
        "nothing has moved.</p></div>"
    )


def _claim(name: str, claim: Claim) -> str:
    kind, verdict = ("yes", "holds") if claim.holds else ("no", "fails")
    return f"<tr><td>{escape(name)}</td><td class={kind}>{verdict}</td><td>{escape(claim.words)}</td></tr>"


def _row(moved: Moved, first: Mapping[str, str]) -> str:
    name = max(NAMES, key=lambda kind: moved.distance[kind] / max(moved.bound[kind], 1e-9))
    kind = "no" if moved.drifted else "yes"
    return (
        f"<tr><td>{escape(moved.column)}</td><td>{escape(first.get(moved.column, '-'))}</td><td>{NAMES[name]}</td>"
        f"<td class=n>{moved.distance[name]:.3f}</td><td class=n>{moved.bound[name]:.3f}</td>"
        f'<td class="n {kind}">{moved.excess:.2f}</td></tr>'
    )
