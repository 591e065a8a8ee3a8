"""Looks at running experiments by served log and outcomes, and writes what it decides, and why, into the registry."""

import json
from typing import TYPE_CHECKING, Any

import dagster as dg

from recsys_assets.content import content
from recsys_assets.defs.monitoring.feedback import told_since
from recsys_assets.resources import Workspace

if TYPE_CHECKING:
    from recsys.experiments.record import Experiment
    from recsys.monitoring.trials import Decision
    from recsys.registry import Registry


@dg.asset(deps=["online_metrics", "foreseen"], kinds={"polars"}, owners=["team:recsys"])
def experiments(context: dg.AssetExecutionContext, workspace: Workspace) -> dg.MaterializeResult:
    """Each running experiment at its looks so far: reports/experiments.json. A decided one promotes an arm, or ends."""
    from recsys.lake import replacing
    from recsys.registry import Registry

    lake = workspace.lake
    registry = Registry(lake.registry)
    running, wrong = registry.experiments.running()
    reports: dict[str, Any] = {}
    foresight = lake.reports / "foreseen.json"
    foreseen = json.loads(foresight.read_text()) if foresight.exists() else {}
    for experiment in running:
        decision = _looked_at(workspace, registry, experiment)
        before = {arm: told for arm in experiment.arms.values() if (told := foreseen.get(arm))}
        reports[experiment.name] = report = {**decision.report(), "foreseen": before}
        if decision.verdict != "goes on":
            context.log.info(f"experiment {experiment.name}: {_decided(registry, experiment, decision, report)}")
    path = lake.reports / "experiments.json"
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"experiments": reports, "wrong": wrong}, indent=1))
    words = [f"- {name}: {report['verdict']}; {'; '.join(report['reasons'])}" for name, report in reports.items()]
    words += [
        f"- {arm}, before: {told['words']}" for report in reports.values() for arm, told in report["foreseen"].items()
    ]
    words += [f"- {why}" for why in wrong]
    return dg.MaterializeResult(
        metadata={"running": len(running), "told": dg.MetadataValue.md("\n".join(words) or "no experiment runs")},
        data_version=content(path),
    )


def _looked_at(workspace: Workspace, registry: "Registry", experiment: "Experiment") -> "Decision":
    """The experiment by what was served up to now, which is the instant of the newest answer."""
    import polars as pl

    from recsys.events import DAY_MS
    from recsys.monitoring import feedback, sieve, trials
    from recsys.serving import served_log
    from recsys.sources.source import day_name

    lake = workspace.lake
    first = day_name(experiment.begins // DAY_MS - trials.BEFORE_DAYS)
    days = [day for day in served_log.days(lake.served_log) if day >= first]
    paths = [path for day in days for path in served_log.segments(lake.served_log, day)]
    served = pl.DataFrame(served_log.read(paths).drop_columns(["features"]))
    items = pl.read_parquet(registry.get(experiment.arms[experiment.control]).path / "items.parquet")
    seen = feedback.joined(served, feedback.of_events(told_since(workspace, [first])))
    now = int(served["served_at"].max() or 0)  # type: ignore[call-overload]
    if experiment.kind == "interleave":
        return sieve.sieved(experiment, seen, now)
    judged = lake.reports / "evaluation.json"
    curve = json.loads(judged.read_text()).get("position_curve") if judged.exists() else None
    seen = trials.grouped(seen, items, curve or {})
    return trials.analysed(experiment, served, seen, now)


def _decided(registry: "Registry", experiment: "Experiment", decision: "Decision", report: dict[str, Any]) -> str:
    """Carry a decision out, and keep it with its reasons."""
    from recsys.features.catalog import FINGERPRINT
    from recsys.registry import RegistryError

    reasons, champion = list(decision.reasons), registry.alias_id()
    if experiment.kind == "interleave":  # it says what is worth an experiment, and changes nothing
        ended = "stopped" if decision.verdict == "prefer" else "refused"
        registry.experiments.end(experiment.name, ended, reasons, report)
        return f"{decision.verdict}: {'; '.join(reasons)}"
    control, treatment = experiment.arms[experiment.control], experiment.arms[decision.arm]
    # who was promoted by hand meanwhile and is refused now goes back
    wanted = treatment if decision.verdict == "promote" else control if champion == treatment else None
    state = "promoted" if decision.verdict == "promote" else "refused"
    if wanted is not None:
        try:
            registry.promote(wanted, held=FINGERPRINT, reason=f"experiment {experiment.name}: {reasons[0]}")
        except RegistryError as error:
            state, reasons = "refused", [*reasons, f"it cannot serve: {error}"]
    registry.experiments.end(experiment.name, state, reasons, report)
    return f"{state}: {'; '.join(reasons)}"
