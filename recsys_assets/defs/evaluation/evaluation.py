"""Every model and heuristic on the same rows, and the verdict on the new ranker."""

from typing import Any

import dagster as dg

from recsys_assets.content import content
from recsys_assets.resources import Workspace


@dg.asset(
    name="evaluation",
    deps=["training_set", "ranker", "shelf_orders", "retrieval_candidates", "cleaned_events", "items", "raw_users"],
    kinds={"numpy", "json"},
    owners=["team:recsys"],
)
def compared(workspace: Workspace) -> dg.MaterializeResult:
    """Models and heuristics side by side on the test days: evaluation.json, predictions.parquet, plots."""
    from recsys.cleaned.people import people_of
    from recsys.evaluation import cold_start, compare, report, shelves
    from recsys.evaluation.beyond_accuracy import Catalogue
    from recsys.evaluation.evidence import evidence
    from recsys.evaluation.position import position_curve
    from recsys.lake import content_hash
    from recsys.privacy.border import Border
    from recsys.ranking.saved import load_ranker
    from recsys.sources.opening import open_source
    from recsys.training_sets.assemble import LABELS
    from recsys.training_sets.labels import aim, labels_of, probabilities
    from recsys_assets.defs.evaluation import contenders, shelves_judged, slates_judged

    settings, lake = workspace.settings, workspace.lake
    source, parts = open_source(settings), contenders.tables(lake, ("validation", "test"))
    parts |= contenders.tables(lake, ("train",), [*LABELS, "date"])  # of what was learned from no feature is asked
    judged = evidence(lake) | {
        "rankers": {name: content_hash(path) for name, path in contenders.rankers(lake).items()}
    }  # before anything is read
    challenger, (log, items) = load_ranker(lake.models / "ranker"), contenders.log_and_items(lake)
    previous, border = contenders.previous_champion(lake, challenger), Border.of(settings)
    task = report.retrieval_task(parts["test"])
    asked, aimed = slates_judged.requests_of(parts["test"]), aim(labels_of(parts["train"], parts["validation"]))
    curve, devices = position_curve(challenger, parts["test"]), slates_judged.devices_of(parts["test"], asked)
    proposed, categories = contenders.candidates(lake, task, log, items), contenders.categories(lake)
    comparison = compare.compare(
        compare.Subject(
            parts=parts,
            challenger=challenger,
            previous=previous[0] if previous else None,
            previous_learned_until=previous[1] if previous else 0,
            candidates=proposed,
            source=source.name,
            truth=contenders.true_long_views(source, border, parts["test"]),
            others=contenders.not_chosen(lake, challenger),
            catalogue=Catalogue.of(items, log, before=int(parts["test"]["occurred_at"].to_numpy().min())),
            categories=categories,
            served=slates_judged.served(
                lake, source, border, log, asked, challenger, aimed, devices=devices, curve=curve
            ),
            curve=curve,
        )
    )
    for name, heuristic in comparison.heuristics.items():
        heuristic.save(lake.models / "heuristics" / name)
        judged["rankers"][name] = content_hash(lake.models / "heuristics" / name)
    learned_until = previous[1] if previous else 0
    told, tables = shelves_judged.judged(lake, source, border, log, parts["test"], challenger, learned_until)
    comparison.evaluation["shelves"] = told
    comparison.evaluation["judged"] = judged
    shelves.write(lake.reports, tables)
    comparison.evaluation["cold_start"] = cold_start.told(
        task, proposed, log, items, people_of(lake), categories, contenders.come_back(lake)
    )
    compare.write(lake.reports, comparison)
    best = comparison.evaluation["ranking"][comparison.evaluation["challenger"]]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": comparison.predictions.height,
            "labels": ", ".join(comparison.evaluation["labels"]),
            **{f"auc_{label}": best[label]["auc"] for label in probabilities(best)},
            f"gauc_{aim(best)}": best[aim(best)]["gauc"],
            "shelves": dg.MetadataValue.md("\n".join(f"- {name}: {_words(shelf)}" for name, shelf in told.items())),
            "report": dg.MetadataValue.path(lake.reports / "evaluation.json"),
        },
        data_version=content(lake.reports / "evaluation.json"),
    )


def _words(shelf: dict[str, Any]) -> str:
    return f"{'passed' if shelf['gate']['passed'] else 'refused'}: {'; '.join(shelf['gate']['reasons'])}"


@dg.asset(deps=["evaluation"], kinds={"json"}, owners=["team:recsys"])
def verdict(workspace: Workspace) -> dg.MaterializeResult:
    """Who is promoted, if anybody, with the figures that say so: reports/verdict.json; all of it in evaluation.html."""
    import json

    from recsys.evaluation import gates, page

    reports = workspace.lake.reports
    report = json.loads(workspace.lake.there(reports / "evaluation.json").read_text())
    decided = gates.decide(report)
    decided.save(reports / "verdict.json")
    lines = [f"- **{gate.outcome}**: {gate.claim} ({gate.reason})" for gate in decided.gates]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(decided.gates),
            "passed": decided.passed,
            "reasons": dg.MetadataValue.md("\n".join(f"- {reason}" for reason in decided.reasons)),
            "gates": dg.MetadataValue.md("\n".join(lines)),
            "model report": dg.MetadataValue.path(page.write(reports, report, decided)),
        },
        data_version=content(reports / "verdict.json"),
    )


@dg.asset_check(asset="verdict")
def challenger_is_promoted(workspace: Workspace) -> dg.AssetCheckResult:
    """No gate stands in the way of a promotion; where one does, the previous champion goes on serving."""
    from recsys.evaluation.gates import Verdict

    verdict = Verdict.load(workspace.lake.reports / "verdict.json")
    return dg.AssetCheckResult(
        passed=verdict.passed,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(verdict.reasons),
    )
