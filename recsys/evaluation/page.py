"""reports/evaluation.html: one evaluation as one file, for who did not train the model: tables, bars and pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from recsys.evaluation.gates import Verdict
from recsys.lake import replacing
from recsys.training_sets.labels import PROBABILITIES

RANKED: Final = ("auc", "gauc", "gauc@slate", "ndcg@5", "ndcg@10", "log_loss", "calibration_error")
PROPOSED: Final = ("recall@50", "recall@100", "recall@200", "ndcg@50")
COHORTS: Final = {
    "user": "newness of the person (cold start)",
    "item": "age of the item (cold start)",
    "device": "device",
    "day": "day",
    "category": "category",
}
PICTURES: Final = {
    "calibration.svg": "Observed against predicted share: on the line, a probability means what it says.",
    "position_curve.svg": "How much a place further down costs, as the model learned it.",
    "ranking.svg": "Order of the test impressions by model.",
    "cohorts.svg": "The same by cohort.",
    "importances.svg": "What the trees look at.",
}
SERVED: Final = ("hit@10", "recall@10", "ndcg@10", "distinct_items", "share_of_first_place")
COLD: Final = {  # of report["cold_start"] -> words, metric
    "users_by_events": ("people, by events before (at least)", "recall@50"),
    "items_by_age": ("items, by age", "recall@200"),
    "items_by_impressions": ("items, by impressions before (at least)", "recall@200"),
    "new_categories": ("categories that training never saw", "recall@200"),
}
COUNTS: Final = ("rows", "targets", "intervals")  # of a group of those, beside the ways to find what came next
TOP: Final = 25  # importances that are listed
STYLE: Final = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif;
  --ink: light-dark(#1c2023, #e6e8ea); --soft: light-dark(#565d63, #a7aeb5); --line: light-dark(#dfe1dc, #31373d);
  --accent: light-dark(#0f6b66, #5fc9bf); --sunk: light-dark(#f1f2ef, #22272c); --wash: light-dark(#e2f0ee, #16302e);
  color: var(--ink); background: light-dark(#fbfbf9, #14171a) }
body { max-width: 76rem; margin: 2rem auto; padding: 0 1rem } h1 { font-size: 1.5rem } h2 { margin-top: 2.5rem }
p { max-width: 70ch } .soft { color: var(--soft) } .wide { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-size: .9rem } caption { text-align: left; color: var(--soft) }
th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top }
th { background: var(--sunk); font-size: .8rem } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
tr.ours > * { background: var(--wash) } svg { display: block; width: 8rem; height: .75rem }
svg .track { fill: var(--sunk) } svg .bar { fill: var(--accent) } svg .span { stroke: var(--accent); stroke-width: 3 }
svg .zero { stroke: var(--soft) } img { max-width: 100%; background: #fff; border-radius: .4rem }
figure { margin: 1rem 0 } .holds { color: var(--accent) } .fails { color: light-dark(#a03a1c, #f0916f) }
"""


def write(reports: Path, report: Mapping[str, Any], verdict: Verdict) -> Path:
    """Put the page beside the report's other files, and return where.

    Args:
        report: evaluation.json
    """
    split = report["split"]
    days = f"{report['first_day']} to {report['last_day']}"
    head = (
        f"<h1>Model report</h1><p>Source {escape(str(report['source']))}, days {days}: trained on "
        f"{report['impressions']['train']:,} impressions, chosen on {split['validation'][0]} to "
        f"{split['validation'][-1]}, judged on {report['impressions']['test']:,} of {split['test'][0]} to "
        f"{split['test'][-1]} ({report['test_users']:,} people, {report['test_items']:,} items)."
        "</p>"
    )
    parts = [
        head,
        _verdict(verdict),
        _changed(report),
        *(_ranking(report, label) for label in report["labels"] if label in PROBABILITIES),
        _served(report),
        _attention(report),
        *_shelves(report),
        _retrieval(report),
        _cold_start(report),
        _regret(report),
        _slices(report),
        _cohorts(report),
        _importances(report),
        *_pictures(reports),
        _conventions(report),
    ]
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>Model report</title><style>{STYLE}</style>"
    path = reports / "evaluation.html"
    with replacing(path) as temporary:
        temporary.write_text(f"{page}<body>{''.join(parts)}</body></html>\n")
    return path


def _verdict(verdict: Verdict) -> str:
    rows = [
        [escape(g.claim), f"<span class={g.outcome.split()[0]}>{g.outcome}</span>", g.reason] for g in verdict.gates
    ]
    words = "promoted" if verdict.passed else "refused"
    reasons = "".join(f"<p>{escape(reason)}</p>" for reason in verdict.reasons)
    return f"<h2>Verdict: {words}</h2>{reasons}{_table(['gate', 'outcome', 'why'], rows, raw=(0, 1))}"


def _changed(report: Mapping[str, Any]) -> str:
    """Beside the champion that serves, where one does and was judged on the same rows."""
    before, now = report["ranking"].get(report.get("previous")), report["ranking"][report["challenger"]]
    if before is None:
        return "<h2>Since the last version</h2><p>There was no champion to compare with on these rows.</p>"
    rows = []
    for label in (label for label in report["labels"] if label in PROBABILITIES):
        for metric in RANKED:
            old, new = before[label].get(metric), now[label].get(metric)
            if old is not None and new is not None:
                rows.append([label.replace("_", " "), metric, _number(old), _number(new), f"{new - old:+.4f}"])
    head = ["label", "metric", "the champion that served", "this one", "difference"]
    return f"<h2>Since the last version</h2>{_table(head, rows, numbers=(2, 3, 4))}"


def _ranking(report: Mapping[str, Any], label: str) -> str:
    spans = {name: intervals.get(f"ndcg@5_{label}") for name, intervals in report.get("intervals", {}).items()}
    spans.pop(report["challenger"], None)  # of itself there is no difference to show
    reach = max([abs(end) for span in spans.values() if span for end in span[-2:]], default=0.0)
    rows, ours = [], []
    for name, model in report["ranking"].items():
        figures = [_number(model[label].get(metric)) for metric in RANKED]
        span = spans.get(name)
        rows.append([escape(name), *figures, _span(span, reach) if span else ""])
        ours.append(name == report["challenger"])
    words = label.replace("_", " ")
    note = "The interval is the champion less that row in ndcg@5, people resampled in pairs; "
    note += f"the truth lies in all {report.get('comparisons', 1)} that decide together in 95 %."
    head = ["", *RANKED, "interval"]
    table = _table(head, rows, numbers=range(1, len(RANKED) + 1), raw=(0, len(RANKED) + 1), ours=ours)
    return f"<h2>Ranking, judged by {words}</h2><p class=soft>{note}</p>{table}"


def _served(report: Mapping[str, Any]) -> str:
    """The slates that the service would have given, beside every list that is the same for all."""
    told = report.get("served")
    if not told:
        return ""
    metrics = list(dict.fromkeys([told["metric"], *SERVED]))
    written = {"distinct_items": _whole}
    rows = [
        [name, *(written.get(metric, _number)(figures.get(metric)) for metric in metrics)]
        for name, figures in told["slates"].items()
    ]
    note = f"{_whole(told['users'])} people of the test days; {told['metric'].replace('_', ' ')} decides."
    ours = [name == "challenger" for name in told["slates"]]
    table = _table(["", *metrics], rows, numbers=range(1, len(metrics) + 1), ours=ours)
    return f"<h2>Slates as they would be served</h2><p class=soft>{note}</p>{table}"


def _attention(report: Mapping[str, Any]) -> str:
    """What groups of items get of the attention of those slates, by all people and by groups of them."""
    told = (report.get("served") or {}).get("attention")
    if not told:
        return ""
    rows = []
    for people, items in [("all", told["items"])] + [(name, of["items"]) for name, of in told["people"].items()]:
        for group, figures in items.items():
            for name, slate in figures["slates"].items():
                shares = [f"{value:.1%}" for value in (slate["exposure"], figures["offered"], slate["distance"])]
                low, high = slate.get("interval", (None, None))
                span = "" if low is None or high is None else f"{low:+.3f} to {high:+.3f}"
                rows.append([people, group, name, *shares, span])
    note = (
        "Shares of attention: each place by the odds of a click that it gets, of the first place's. Beside them what "
    )
    note += "might be shown, how far attention is from that, and the challenger's share less that row's."
    head = ["people", "items", "slates", "attention", "offered", "distance", "interval"]
    table = _table(head, rows, numbers=range(3, 7), ours=[row[2] == "challenger" for row in rows])
    return f"<h2>Who gets the attention</h2><p class=soft>{note}</p>{table}"


def _shelves(report: Mapping[str, Any]) -> Iterable[str]:
    """Each shelf by its own notion of success, beside its own heuristics."""
    for name, told in report.get("shelves", {}).items():
        deciding, metrics = told["metric"], list(told["champion"])
        orders = {"champion": told["champion"], **told["heuristics"]}
        spans = {order: told["intervals"].get(order, {}).get(deciding, [None]) for order in orders}
        known = {order: span for order, span in spans.items() if None not in span}
        reach = max([abs(end) for span in known.values() for end in span[-2:]], default=0.0)
        bars = {order: _span(span, reach) for order, span in known.items()}
        rows = [
            [order, *(_number(figures.get(metric)) for metric in metrics), bars.get(order, "")]
            for order, figures in orders.items()
        ]
        words = "passed" if told["gate"]["passed"] else "refused"
        note = f"{_whole(told['rows'])} requests had a success to find. The interval is the champion less that row"
        note += f" in {deciding.replace('_', ' ')}. {escape('; '.join(told['gate']['reasons']))}"
        head, ours = ["", *metrics, "interval"], [order == "champion" for order in orders]
        table = _table(head, rows, numbers=range(1, len(head) - 1), raw=(len(head) - 1,), ours=ours)
        yield f"<h2>Shelf {escape(name)}: its gate {words}</h2><p class=soft>{note}</p>{table}"


def _cold_start(report: Mapping[str, Any]) -> str:
    """How well each way finds what came next, of people and items of which little is known."""
    parts = []
    for name, (words, metric) in COLD.items():
        groups = report.get("cold_start", {}).get(name) or {}
        ways = list(dict.fromkeys(way for told in groups.values() for way in told if way not in COUNTS))
        rows = []
        for group, told in groups.items():
            figures = [_number(told.get(way, {}).get(metric)) for way in ways]
            rows.append([group.replace("_", " "), _whole(told.get("rows", told.get("targets"))), *figures])
        if rows:
            head = ["", "rows", *(way.replace("_", " ") for way in ways)]
            table = _table(head, rows, numbers=range(1, len(head)))
            parts.append(f"<h3>Of {words}</h3><p class=soft>{metric} over the full catalogue.</p>{table}")
    return f"<h2>Cold start</h2>{''.join(parts)}" if parts else ""


def _retrieval(report: Mapping[str, Any]) -> str:
    most = max((source.get("recall@50") or 0.0 for source in report["retrieval"].values()), default=0.0)
    rows = [
        [
            escape(name),
            *(_number(source.get(metric)) for metric in PROPOSED),
            _bar(source.get("recall@50") or 0.0, most),
        ]
        for name, source in report["retrieval"].items()
    ]
    ours = [name == "fused" for name in report["retrieval"]]
    table = _table(["source", *PROPOSED, "recall@50"], rows, numbers=(1, 2, 3, 4), raw=(0, 5), ours=ours)
    return f"<h2>Candidate sources over the full catalogue</h2>{table}"


def _regret(report: Mapping[str, Any]) -> str:
    """Only the simulator knows the best attainable ranking."""
    if not report.get("regret"):
        return ""
    rows = [[name, _number(figures.get("regret@5"))] for name, figures in report["regret"].items()]
    return f"<h2>Regret to the best attainable ranking</h2>{_table(['', 'regret@5'], rows, numbers=(1,))}"


def _cohorts(report: Mapping[str, Any]) -> str:
    told = report["cohorts"].get(report["challenger"], {})
    parts = []
    for kind, words in COHORTS.items():
        rows = []
        for value, figures in told.get(kind, {}).items():
            by_label = [figures.get(label) or {} for label in PROBABILITIES if label in report["labels"]]
            rows.append(
                [value, _whole(figures.get("rows"))]
                + [_number(one.get(metric)) for one in by_label for metric in ("auc", "log_loss", "calibration_error")]
            )
        if rows:
            labels = [label.replace("_", " ") for label in PROBABILITIES if label in report["labels"]]
            head = ["", "rows", *(f"{m} {label}" for label in labels for m in ("AUC", "log loss", "calibration error"))]
            parts.append(f"<h3>By {words}</h3>{_table(head, rows, numbers=range(1, len(head)))}")
    return f"<h2>Cohorts</h2>{''.join(parts)}" if parts else ""


def _slices(report: Mapping[str, Any]) -> str:
    """Shelves, devices and new people: whether their probabilities are as right as everybody's."""
    labels = [label for label in PROBABILITIES if label in report["labels"]]
    rows = [
        [name, _whole(figures["users"]), _whole(figures["rows"])]
        + [_ratio(figures.get(f"calibration_{label}"), figures.get(f"others_{label}")) for label in labels]
        for name, figures in report.get("slices", {}).items()
    ]
    if not rows:
        return ""
    note = (
        "Predicted over observed share with its interval, all of which hold together in 95 %; and that of all others."
    )
    head = ["", "people", "rows", *(label.replace("_", " ") for label in labels)]
    return f"<h2>Shelves and groups</h2><p class=soft>{note}</p>{_table(head, rows, numbers=(1, 2))}"


def _ratio(told: Sequence[float] | None, others: float | None) -> str:
    if told is None or others is None:
        return "-"
    return f"{told[0]:.3f} ({told[1]:.3f} to {told[2]:.3f}), others {others:.3f}"


def _importances(report: Mapping[str, Any]) -> str:
    largest = list(report.get("importances", {}).items())[:TOP]
    if not largest:
        return ""
    rows = [[f"<code>{escape(name)}</code>", f"{share:.3f}", _bar(share, largest[0][1])] for name, share in largest]
    return f"<h2>What the trees look at</h2>{_table(['feature', 'share of gain', ''], rows, numbers=(1,), raw=(0, 2))}"


def _pictures(reports: Path) -> Iterable[str]:
    for name, words in PICTURES.items():
        if (reports / name).exists():
            data = base64.b64encode((reports / name).read_bytes()).decode()
            title = name.removesuffix(".svg").replace("_", " ").capitalize()
            source = f"data:image/svg+xml;base64,{data}"
            figure = f'<figure><img alt="{escape(words)}" src="{source}"></figure>'
            yield f"<h2>{title}</h2><p class=soft>{words}</p>{figure}"


def _conventions(report: Mapping[str, Any]) -> str:
    rows = [[name, words] for name, words in report.get("conventions", {}).items()]
    return f"<h2>How the figures are made</h2>{_table(['metric', 'convention'], rows)}"


def _table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Iterable[int] = (),
    raw: Iterable[int] = (),
    ours: Sequence[bool] = (),
) -> str:
    right, as_is = set(numbers), set(raw)
    kind = ["n" if i in right else "t" for i in range(len(head))]
    top = "".join(f"<th class={kind[i]}>{escape(title)}</th>" for i, title in enumerate(head))
    body = []
    for place, row in enumerate(rows):
        cells = (cell if i in as_is else escape(cell) for i, cell in enumerate(row))
        tds = "".join(f"<td class={kind[i]}>{cell}</td>" for i, cell in enumerate(cells))
        body.append(f"<tr{' class=ours' if ours and ours[place] else ''}>{tds}</tr>")
    return f"<div class=wide><table><thead><tr>{top}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"


def _bar(value: float, most: float) -> str:
    width = 100 * value / most if most else 0.0
    return (
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden=true><rect class=track width=100 height=10 />'
        f"<rect class=bar width={width:.1f} height=10 /></svg>"
    )


def _span(span: Sequence[float], reach: float) -> str:
    low, high = span[-2:]
    x = [50 + 48 * end / reach if reach else 50 for end in (low, high)]
    return (
        f"{low:+.4f} to {high:+.4f}"
        '<svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden=true><line class=zero x1=50 x2=50 y2=10 />'
        f"<line class=span x1={x[0]:.1f} x2={max(x[1], x[0] + 1):.1f} y1=5 y2=5 /></svg>"
    )


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.4f}"


def _whole(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"
