"""Every model and heuristic on the same rows, and the verdict on the new ranker."""

import dagster as dg

from recsys_assets.resources import Workspace


@dg.asset(
    name="evaluation",
    deps=["training_set", "ranker", "retrieval_candidates", "cleaned_events", "items"],
    kinds={"numpy", "json"},
    owners=["team:recsys"],
)
def compared(workspace: Workspace) -> dg.MaterializeResult:
    """Models and heuristics side by side on the test days: evaluation.json, predictions.parquet, plots."""
    from recsys.evaluation import compare, report
    from recsys.evaluation.beyond_accuracy import Catalogue
    from recsys.features.privacy import Border
    from recsys.ranking.ranker import load_ranker
    from recsys.sources.source import open_source
    from recsys.training_sets.split import PARTS
    from recsys_assets.defs.evaluation import contenders

    settings, lake = workspace.settings, workspace.lake
    source, parts = open_source(settings), contenders.tables(lake, PARTS)
    challenger, (log, items) = load_ranker(lake.models / "ranker"), contenders.log_and_items(lake)
    task = report.retrieval_task(parts["test"])
    comparison = compare.compare(
        compare.Subject(
            parts=parts,
            challenger=challenger,
            previous=contenders.previous_champion(lake, challenger),
            candidates=contenders.candidates(lake, task, log, items),
            source=source.name,
            id_type=source.id_type,
            truth=contenders.true_long_views(source, Border.of(settings), parts["test"]),
            others=contenders.not_chosen(lake, challenger),
            catalogue=Catalogue.of(items, log, before=int(parts["test"]["occurred_at"].to_numpy().min())),
            categories=contenders.categories(lake),
        )
    )
    compare.write(lake.reports, comparison, parts["test"])
    best = comparison.evaluation["ranking"][comparison.evaluation["challenger"]]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": comparison.predictions.height,
            "auc_click": best["click"]["auc"],
            "auc_long_view": best["long_view"]["auc"],
            "gauc_long_view": best["long_view"]["gauc"],
            "report": dg.MetadataValue.path(lake.reports / "evaluation.json"),
        }
    )


@dg.asset(deps=["evaluation"], kinds={"json"}, owners=["team:recsys"])
def verdict(workspace: Workspace) -> dg.MaterializeResult:
    """Whether the new ranker is promoted, with the figures that say so: reports/verdict.json."""
    import json

    from recsys.evaluation import gates

    reports = workspace.lake.reports
    decided = gates.decide(json.loads((reports / "evaluation.json").read_text()))
    decided.save(reports / "verdict.json")
    lines = [f"- {'holds' if gate.passed else '**fails**'}: {gate.claim} ({gate.reason})" for gate in decided.gates]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(decided.gates),
            "passed": decided.passed,
            "gates": dg.MetadataValue.md("\n".join(lines)),
        }
    )


@dg.asset_check(asset="verdict")
def challenger_is_promoted(workspace: Workspace) -> dg.AssetCheckResult:
    """Every gate holds for the new ranker; when one fails, the previous champion goes on serving."""
    from recsys.evaluation.gates import Verdict

    found = Verdict.load(workspace.lake.reports / "verdict.json")
    return dg.AssetCheckResult(
        passed=found.passed,
        severity=dg.AssetCheckSeverity.WARN,
        description="; ".join(found.reasons),
    )
