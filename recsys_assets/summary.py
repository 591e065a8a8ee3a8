"""The end of `make run`: the evaluation table, the verdicts, three users' recommendations, where the reports lie."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import duckdb
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from recsys.evaluation.gates import Verdict
from recsys.lake import Lake
from recsys.registry import Registry
from recsys.settings import Settings
from recsys.training_sets.labels import PROBABILITIES

Check = tuple[str, str, bool, str, str]  # asset, check, passed, severity, words
SHOWN_ITEMS = 10
VERDICTS = {"ERROR": "[red]failed[/]", "WARN": "[yellow]warns[/]", "NOTHING": "nothing to check"}


def summarize(settings: Settings, console: Console, checks: Sequence[Check]) -> None:
    lake = Lake(settings.home)
    report = json.loads((lake.reports / "evaluation.json").read_text())
    if report["sampled"]:  # what was passed over is not known there: the full catalogue says more than drawn rows
        _retrieval_table(report, console)
    _served_table(report, console)
    _shelf_tables(report, console)
    _ranking_table(report, console)
    _regret(report, console)
    if not report["sampled"]:
        _retrieval_table(report, console)
    _checks(checks, console)
    _verdict(lake, console)
    _recommendations(settings, console)
    console.print("\n[bold]reports[/]", highlight=False)
    for path in sorted(lake.reports.iterdir()):
        console.print(f"  {escape(str(path))}", highlight=False)


def _served_table(report: dict[str, Any], console: Console) -> None:
    """What a person gets, beside what everybody would get."""
    served = report.get("served")
    if served is None:
        return
    title = f"slates of ten for {served['users']:,} test users, {served['users_with_next_items']:,} with next items"
    table = Table(title=title, title_justify="left")
    table.add_column("slate")
    metrics = [name for name in ("p_click", "p_long_view", "ndcg@10", "recall@10", "hit@10") if name in _first(served)]
    for name in metrics:
        table.add_column(name, justify="right")
    for name in ("distinct items", "first place", "two share"):
        table.add_column(name, justify="right")
    for name, figures in served["slates"].items():
        cells = [_number(figures.get(metric)) for metric in metrics]
        cells += [
            f"{figures['distinct_items']:,}",
            f"{figures['share_of_first_place']:.2f}",
            "-" if figures["items_two_share"] is None else f"{figures['items_two_share']:.1f}",  # of one slate
        ]
        table.add_row(name, *cells, style="bold" if name == "challenger" else None)
    console.print(table)


def _shelf_tables(report: dict[str, Any], console: Console) -> None:
    """Each shelf by its own notion of success, beside its own heuristics."""
    for name, shelf in report.get("shelves", {}).items():
        gate = shelf["gate"]
        console.print(
            f"[bold]shelf {name}[/]: {shelf['label']} by {shelf['unit']}, {shelf['rows']:,} of {shelf['requests']:,} "
            f"requests had a success to find; ordered by {shelf['order']}",
            highlight=False,
        )
        if shelf["heuristics"]:
            table, deciding = Table(), shelf["metric"]
            table.add_column("order")
            for metric in shelf["champion"]:
                table.add_column(metric, justify="right")
            table.add_column(f"champion less it, {deciding}", justify="right")
            table.add_row("champion", *map(_number, shelf["champion"].values()), "", style="bold")
            for rule, figures in shelf["heuristics"].items():
                span = " to ".join("-" if end is None else f"{end:+.4f}" for end in shelf["intervals"][rule][deciding])
                table.add_row(rule, *map(_number, figures.values()), span)
            console.print(table)
        verdict = "[green]passed[/]" if gate["passed"] else "[yellow]refused[/]"
        console.print(f"  gate {verdict}: {escape('; '.join(gate['reasons']))}", highlight=False)


def _first(served: dict[str, Any]) -> dict[str, Any]:
    return next(iter(served["slates"].values()))  # type: ignore[no-any-return]


def _ranking_table(report: dict[str, Any], console: Console) -> None:
    split = report["split"]
    table = Table(
        title=f"ranking of the test impressions, {split['test'][0]} to {split['test'][-1]}"
        + (", against drawn negatives" if report["sampled"] else ""),
        title_justify="left",
    )
    metrics = ("auc", "gauc", "log_loss", "ndcg@5", "ndcg@10")
    table.add_column("model")
    labels = [label for label in report["labels"] if label in PROBABILITIES]
    for label in labels:
        for metric in metrics:
            table.add_column(f"{label}\n{metric}", justify="right")
    for name, model in report["ranking"].items():
        cells = [_number(model[label].get(metric)) for label in labels for metric in metrics]
        table.add_row(name, *cells, style="bold" if name == "champion" else None)
    console.print()
    console.print(table)


def _regret(report: dict[str, Any], console: Console) -> None:
    """Only the simulator knows the best attainable ranking."""
    if not report.get("regret"):
        return
    regret = {name: figures["regret@5"] for name, figures in report["regret"].items() if name != "oracle"}
    best = min((name for name in regret if name in report["heuristics"]), key=regret.__getitem__)
    console.print(
        f"regret@5 to the best attainable ranking: champion {regret['champion']:.4f}, {best} {regret[best]:.4f}"
        if "champion" in regret
        else f"regret@5 to the best attainable ranking: {best} {regret[best]:.4f}",
        highlight=False,
    )


def _retrieval_table(report: dict[str, Any], console: Console) -> None:
    metrics = ("recall@50", "recall@100", "recall@200", "ndcg@50")
    table = Table(title="retrieval over the full catalogue", title_justify="left")
    table.add_column("source")
    for metric in metrics:
        table.add_column(metric, justify="right")
    for name, source in report["retrieval"].items():
        table.add_row(name, *(_number(source.get(metric)) for metric in metrics))
    console.print(table)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _checks(checks: Sequence[Check], console: Console) -> None:
    table = Table(title="checks", title_justify="left")
    for column in ("asset", "check", "verdict", "in words"):
        table.add_column(column, overflow="fold")
    for asset, name, passed, severity, words in sorted(checks):
        verdict = "[green]passed[/]" if passed else VERDICTS[severity]
        table.add_row(escape(asset), escape(name), verdict, escape(words.splitlines()[0] if words else ""))
    console.print(table)


def _verdict(lake: Lake, console: Console) -> None:
    verdict = Verdict.load(lake.reports / "verdict.json")
    words = "[green]passed[/]" if verdict.passed else "[red]refused[/]"
    console.print(f"[bold]gate[/] {words}{', no champion to protect' if verdict.is_first else ''}")
    for reason in verdict.reasons:
        console.print(f"  {escape(reason)}", highlight=False)
    registry = Registry(lake.registry)
    champion, newest = registry.champion(), registry.bundles()[-1]
    console.print(f"champion: {champion.bundle_id if champion else 'none'}", highlight=False)
    if champion is not None and champion.bundle_id != newest.bundle_id:
        by_hand = f'make promote BUNDLE={newest.bundle_id} REASON="..."'
        console.print(f"it goes on serving; the new bundle by hand: {by_hand}", highlight=False)


def _recommendations(settings: Settings, console: Console) -> None:
    """Ten items for the busiest user, a light one and a stranger, at the instant the log ends."""
    if Registry(Lake(settings.home).registry).champion() is None:
        console.print("no bundle is the champion, so there is nothing to recommend with")
        return
    from recsys.serving.opening import open_recommender
    from recsys.serving.schema import RecommendRequest

    pattern = str(Lake(settings.home).day("*", "cleaned", "impressions"))
    users = duckdb.execute(
        "select user_id, max(max(received_at)) over () from read_parquet(?) group by 1 order by count(*) desc, user_id",
        [pattern],
    ).fetchall()
    busiest, middling, end = users[0][0], users[len(users) // 2][0], users[0][1]
    shown = {f"user {busiest}, the busiest": busiest, f"user {middling}": middling, "someone never seen": "a-stranger"}
    recommender = open_recommender(settings, follow=False)
    try:
        for title, user in shown.items():
            request = RecommendRequest.model_validate({"user_id": user, "k": SHOWN_ITEMS, "context": {"at": end + 1}})
            response = recommender.recommend(request)
            table = Table(title=f"{title} (rung {response.rung})", title_justify="left")
            for column, justify in (("item", "left"), ("score", "right"), ("p(click)", "right"), ("watch s", "right")):
                table.add_column(column, justify=justify)  # type: ignore[arg-type]
            table.add_column("source")
            table.add_column("because", overflow="fold")
            for item in response.items:
                table.add_row(
                    str(item.item_id),
                    f"{item.score:.4f}",
                    _number(item.p_click),
                    "-" if item.expected_watch_seconds is None else f"{item.expected_watch_seconds:.1f}",
                    item.source,
                    escape(item.reason),
                )
            console.print(table)
    finally:
        recommender.close()
