"""Every bundle ever registered, side by side: where it comes from, how it was judged, what it did in service."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any, Final

import polars as pl

from recsys.lake import replacing
from recsys.registry import Bundle, Registry

METRICS: Final = ("auc_click", "auc_long_view", "gauc_click", "gauc_long_view", "log_loss_click", "log_loss_long_view")
VERDICTS: Final = {"holds": "hold", "fails": "fail", "cannot tell": "cannot tell"}  # of a gate
VERSIONS_SCHEMA: Final = {
    "bundle": pl.String,
    "registered_at": pl.String,
    "kind": pl.String,  # of its ranker
    "aliases": pl.String,
    "passed": pl.Boolean,  # its gates; None for a bundle from before verdicts were noted
    "gates": pl.String,  # how many of them held, failed, could not tell
    "reasons": pl.String,
    "history": pl.String,
    **dict.fromkeys(METRICS, pl.Float64),
    "impressions": pl.Int64,  # in service, on the days that online.parquet holds
    "clicks_an_impression": pl.Float64,
    "promised": pl.Float64,
    "first_day": pl.String,
    "last_day": pl.String,
    "judged_on": pl.String,
    "cause": pl.String,
    "source": pl.String,
    "code": pl.String,
}
SHOWN: Final = 90  # characters of a reason that are read at a glance
NOTE: Final = (
    "Offline figures are of the days that each bundle was judged on (held out from its training), so two rows with "
    "other days do not compare row by row; the verdict does, on the same rows. Online figures are of the last days of "
    "service."
)
STYLE: Final = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1500px; padding: 0 1rem; color: #1b1f24 }
h1 { font-size: 1.4rem } p { max-width: 60rem; color: #57606a } .wide { overflow-x: auto }
table { border-collapse: collapse; white-space: nowrap }
th, td { padding: .35rem .6rem; border-bottom: 1px solid #d8dee4; vertical-align: top }
th { text-align: left; background: #f6f8fa } td.n { text-align: right; font-variant-numeric: tabular-nums }
td.words { white-space: normal; min-width: 20rem } tr.champion { background: #eaf5ea }
.no { color: #b42318 } .yes { color: #1a7f37 } svg { max-width: 100%; height: auto }
"""


def versions(registry: Registry, seen: pl.DataFrame | None = None) -> pl.DataFrame:
    """One row a bundle (VERSIONS_SCHEMA), oldest first.

    Args:
        seen: rows of `reports/online.parquet` (what was served and seen), where there are any.
    """
    served = {row["bundle"]: row for row in _online(seen).to_dicts()}
    changes: dict[str, list[dict[str, Any]]] = {}
    for change in registry.history():
        changes.setdefault(change["bundle_id"], []).append(change)
    now = [("champion", registry.alias_id())]
    for trial in registry.experiments.running()[0]:
        now += [(f"{arm} of {trial.name}", bundle_id) for arm, bundle_id in trial.arms.items()]
    rows = []
    for bundle in registry.bundles():
        online = served.get(bundle.bundle_id, {})
        rows.append(
            {
                **_origin(bundle),
                "aliases": ", ".join(alias for alias, bundle_id in now if bundle_id == bundle.bundle_id),
                "history": "; ".join(_change(change, bundle) for change in changes.get(bundle.bundle_id, [])),
                **{name: bundle.metrics.get(name) for name in METRICS},
                "impressions": online.get("impressions", 0),
                "clicks_an_impression": online.get("ctr"),
                "promised": online.get("p_click"),
            }
        )
    return pl.DataFrame(rows, VERSIONS_SCHEMA)


def write(path: Path, bundles: pl.DataFrame) -> str:
    """Replace `path` by a page of its own: the curves, then the table, newest first. Returns the curves as SVG."""
    svg = _curves(bundles)
    names = list(VERSIONS_SCHEMA)
    head = "".join(f"<th>{escape(name.replace('_', ' '))}</th>" for name in names)
    body = "\n".join(_row(row, names) for row in reversed(bundles.to_dicts()))
    page = (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Bundles</title><style>{STYLE}</style>"
        f"<h1>{bundles.height:,} bundle{'s' if bundles.height != 1 else ''}, newest first</h1><p>{NOTE}</p>{svg}"
        f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div></html>\n"
    )
    with replacing(path) as temporary:
        temporary.write_text(page)
    return svg


def markdown(bundles: pl.DataFrame, newest: int = 20) -> str:
    """The newest bundles as a short table."""
    lines = ["| bundle | registered | kind | days | gates | alias | AUC click | AUC long view | clicks an impression |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for row in bundles.to_dicts()[: -newest - 1 : -1]:
        days = f"{row['first_day'] or '?'} to {row['last_day'] or '?'}"
        cells = [row["bundle"], row["registered_at"], row["kind"], days, _verdict(row["passed"]), row["aliases"]]
        figures = (row["auc_click"], row["auc_long_view"], row["clicks_an_impression"])
        lines.append("| " + " | ".join([*(c or "" for c in cells), *(_text(f) for f in figures)]) + " |")
    return "\n".join(lines)


def _origin(bundle: Bundle) -> dict[str, Any]:
    told = bundle.lineage
    days, judged, verdict = sorted(told.get("days", {})), told.get("judged_on") or [], told.get("verdict") or {}
    return {
        "bundle": bundle.bundle_id,
        "registered_at": _instant(bundle.created_at),
        "kind": told.get("kind"),
        "cause": told.get("cause"),
        "source": told.get("source"),
        "first_day": days[0] if days else None,
        "last_day": days[-1] if days else None,
        "judged_on": " to ".join(dict.fromkeys(judged)) or None,
        "code": told.get("code"),
        "passed": verdict.get("passed"),
        "gates": _gates(verdict),
        "reasons": "; ".join(verdict.get("reasons", [])) or None,
    }


def _gates(verdict: Mapping[str, Any]) -> str | None:
    """How its gates came out; there was nothing to protect from a first champion."""
    counts = verdict.get("gates") or {}
    told = [f"{counts[outcome]} {words}" for outcome, words in VERDICTS.items() if counts.get(outcome)]
    return ", ".join([*(["first champion"] if verdict.get("is_first") else []), *told]) or None


def _change(change: Mapping[str, Any], bundle: Bundle) -> str:
    """One change of the champion; why, where it is not the verdict that the page shows beside it."""
    told = "; ".join((bundle.lineage.get("verdict") or {}).get("reasons", []))
    why = f" ({change['reason']})" if change["reason"] not in ("", told) else ""
    return f"{change['action']} as {change['alias']} {_instant(change['at'])}{why}"


def _online(seen: pl.DataFrame | None) -> pl.DataFrame:
    if seen is None or not seen.height:
        return pl.DataFrame(schema={"bundle": pl.String})
    figures = (pl.len().alias("impressions"), pl.col("click").mean().alias("ctr"), pl.col("p_click").mean())
    return seen.group_by("bundle").agg(figures)


def _curves(bundles: pl.DataFrame) -> str:
    """Offline and online figures over the versions, champions marked, one SVG."""
    from matplotlib.figure import Figure

    names = [f"{at[5:10]}\n{bundle[:6]}" for at, bundle in bundles.select("registered_at", "bundle").rows()]
    figure = Figure(figsize=(min(14, 8 + 0.5 * len(names)), 5.5), layout="constrained")
    offline, online = figure.subplots(2, 1, sharex=True)
    places = list(range(len(names)))
    promoted = [i for i, words in enumerate(bundles["history"].to_list()) if "as champion" in (words or "")]
    for axes, columns in ((offline, ("auc_click", "auc_long_view")), (online, ("clicks_an_impression", "promised"))):
        for column in columns:
            values = [float("nan") if value is None else value for value in bundles[column].to_list()]
            axes.plot(places, values, marker="o", label=column.replace("_", " "))
        for place in promoted:
            axes.axvline(place, color="#1a7f37", alpha=0.25, linewidth=6)
        axes.set_xlim(-0.5, max(len(places), 1) - 0.5)
        axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))  # beside the curves, never on them
        axes.grid(axis="y", alpha=0.3)
    if not bundles["impressions"].sum():
        words = {"transform": online.transAxes, "ha": "center", "va": "center", "bbox": {"fc": "white", "ec": "none"}}
        online.text(0.5, 0.5, "nothing was served yet", **words)
        online.set_yticks([])
    offline.set(title="Offline, on the days each was judged on (green: was champion)", ylabel="AUC")
    online.set(title="Online: clicks an impression, and what was promised", ylabel="share")
    online.set_xticks(places[:: max(1, len(places) // 20)], names[:: max(1, len(places) // 20)])
    written = io.StringIO()
    figure.savefig(written, format="svg")
    return written.getvalue()[written.getvalue().index("<svg") :]


def _row(row: dict[str, Any], names: Sequence[str]) -> str:
    cells = []
    for name in names:
        value = row[name]
        if name == "passed":
            cells.append(f"<td class={'yes' if value else 'no' if value is False else 'old'}>{_verdict(value)}</td>")
        elif isinstance(value, int | float):
            cells.append(f"<td class=n>{_text(value)}</td>")
        elif name in ("reasons", "history"):
            cells.append(f"<td class=words>{_folded(_text(value))}</td>")
        else:
            cells.append(f"<td>{escape(_text(value))}</td>")
    return f"<tr{' class=champion' if 'champion' in row['aliases'] else ''}>{''.join(cells)}</tr>"


def _folded(words: str) -> str:
    """The words, all but their beginning folded away where they are long: a row stays a row."""
    if len(words) <= SHOWN:
        return escape(words)
    begin = words[:SHOWN].rsplit(" ", 1)[0]
    return f"<details><summary>{escape(begin)} ...</summary>{escape(words[len(begin) :])}</details>"


def _verdict(passed: bool | None) -> str:
    return "not noted" if passed is None else "passed" if passed else "refused"


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _instant(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%d %H:%M")
