"""`make bench-models`: our models beside the strongest peers, on the rows and queries of the last `make run`.

`python -m benchmarks.models [ranking retrieval protocol towers cold truth]` runs those named. Needs the lake of a
finished run (RECSYS_HOME) and the `peers` extra. Every table has 95 % intervals by resampled users, paired with ours,
and is written to `reports/bench_models.json` and `reports/bench_models.md`.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console

from recsys.evaluation import report
from recsys.evaluation.bootstrap import Resamples, interval
from recsys.evaluation.metrics import hits
from recsys.evaluation.report import Rows
from recsys.features.catalog import FEATURES
from recsys.lake import Lake, replacing
from recsys.privacy.border import Border
from recsys.ranking.heuristics import RULES, HeuristicRanker
from recsys.ranking.ranker import Predictions
from recsys.ranking.saved import load_ranker
from recsys.settings import Settings, from_environment
from recsys.sources.opening import open_source
from recsys.training_sets.examples import examples
from recsys.training_sets.inputs import Inputs
from recsys_assets.defs.evaluation.contenders import candidates, come_back, log_and_items, tables

OURS = "champion"
Table = tuple[Sequence[str], list[list[str]]]


def say(line: str) -> None:
    print(f"  {line}", flush=True)


def ranking(settings: Settings, lake: Lake) -> tuple[dict[str, Any], Table]:
    """Every trained ranker, LightGBM and the heuristics on the test impressions."""
    from benchmarks.models_rankers import train as train_lightgbm

    parts = tables(lake, ("train", "validation", "test"))
    train, validation = (examples(parts[part], FEATURES) for part in ("train", "validation"))
    test = parts["test"]
    rows, inputs = Rows.of(test), Inputs.of(test, FEATURES)
    chosen = load_ranker(lake.models / "ranker")
    predicted: dict[str, Predictions] = {OURS: chosen.predict(inputs)}
    for folder in sorted((lake.models / "rankers").iterdir()):
        if folder.name != chosen.name:
            predicted[folder.name] = load_ranker(folder).predict(inputs)
    say(f"champion is {chosen.name}; training LightGBM")
    predicted["LightGBM"] = train_lightgbm(train, validation).predict(inputs)
    predicted |= {
        name: HeuristicRanker.fit(name, validation, FEATURES, chosen.fingerprint).predict(inputs) for name in RULES
    }
    figures = {name: report.ranking(rows, predictions) for name, predictions in predicted.items()}
    intervals = report.paired_intervals(rows, predicted, OURS)
    shown = (("click", "auc"), ("click", "log_loss"), ("long_view", "auc"), ("long_view", "log_loss"))
    shown += (("long_view", "gauc"), ("long_view", "ndcg@5"), ("long_view", "calibration_error"))
    header = ["model", *(f"{label} {metric}" for label, metric in shown), "AUC long_view: champion minus model, 95 %"]
    lines = [
        [name, *(f"{figures[name][label][metric]:.4f}" for label, metric in shown), _span(name, intervals[name])]
        for name in predicted
    ]
    told = {"champion_is": chosen.name, "models": figures, "champion_minus_model": intervals}
    return {**_days(parts), **told}, (header, lines)


def retrieval(settings: Settings, lake: Lake) -> tuple[dict[str, Any], Table]:
    """Our sources and their fusion, the peers and the heuristics over the full catalogue."""
    from benchmarks.models_retrievers import World, compare

    parts = tables(lake, ("train", "validation", "test"))
    log, items = log_and_items(lake)
    tasks = {part: report.retrieval_task(parts[part]) for part in ("validation", "test")}
    first = {part: int(parts[part]["occurred_at"].to_numpy().min()) for part in tasks}
    judged, asked = (World.of(log, items, tasks[part], first[part], come_back(lake)) for part in ("validation", "test"))
    lists = dict(candidates(lake, tasks["test"], log, items))
    peers = compare(judged, asked, say)
    lists |= {name: listed for name, (listed, _) in peers.items()}
    figures = report.evaluate_retrieval(lists, tasks["test"])
    targets = np.bincount(tasks["test"].target_query, minlength=len(tasks["test"].user_id))
    has = targets > 0
    drawn = Resamples.draw(np.flatnonzero(has))

    def recall(name: str, k: int) -> np.ndarray:
        hit = hits(lists[name], tasks["test"].target_query, tasks["test"].target_item)
        return drawn.mean(hit[has, :k].sum(axis=1) / targets[has])

    ours = {k: recall("fused", k) for k in (50, 200)}
    header = ["source", "recall@50", "recall@100", "recall@200", "ndcg@50", "fused minus source, recall@50, 95 %"]
    lines = []
    for name in sorted(lists, key=lambda name: -figures[name]["recall@50"]):
        figures[name]["fused_minus"] = {k: list(interval(ours[k] - recall(name, k))) for k in (50, 200)}
        low, high = figures[name]["fused_minus"][50]
        shown = [f"{figures[name][m]:.4f}" for m in ("recall@50", "recall@100", "recall@200", "ndcg@50")]
        lines.append([name, *shown, "" if name == "fused" else f"{low:+.4f} to {high:+.4f}"])
    told = {"catalogue": len(items.item_key), "queries": int(has.sum()), "sources": figures}
    return {**_days(parts), **told, "peer_parameters": {name: dict(params) for name, (_, params) in peers.items()}}, (
        header,
        lines,
    )


def protocol(settings: Settings, lake: Lake) -> tuple[dict[str, Any], Table]:
    """The public within-user protocol, where the lake holds its days."""
    from benchmarks import models_protocol

    figures = models_protocol.run(lake, open_source(settings).utc_offset_ms, threads=1, seed=settings.seed)
    if figures is None:
        return {}, (["the lake does not hold the days of the public protocol (KuaiRand, 25 April 2022 on)"], [])
    header = ["model", "gauc", "ndcg@5", "primary", "95 %", "gap closed"]
    lines = [
        [
            name,
            *(f"{told[metric]:.4f}" for metric in ("gauc", "ndcg@5", "primary")),
            f"{told['interval'][0]:.4f} to {told['interval'][1]:.4f}",
            f"{told['gap_closed']:.1%}",
        ]
        for name, told in figures["models"].items()
    ]
    return figures, (header, lines)


def towers(settings: Settings, lake: Lake) -> tuple[dict[str, Any], Table]:
    """Lightning beside a plain loop."""
    from benchmarks import models_towers

    figures = models_towers.run(lake, settings.seed)
    speeds = figures["examples_a_second"]
    lines = [[name, f"{speed:,.0f}"] for name, speed in speeds.items()]
    return figures, (["two-tower training", "examples a second"], [*lines, ["time ratio", f"{figures['ratio']:.2f}"]])


def cold(settings: Settings, lake: Lake) -> tuple[dict[str, Any], Table]:
    """Items before their first impression, with and without their text."""
    from benchmarks import models_cold

    figures = models_cold.run(lake, settings.seed, say)
    header = ["items never seen, recall", "engagements", "with text @50", "without @50", "with minus without, 95 %"]
    header += ["with text @200", "without @200", "with minus without, 95 %"]
    lines = []
    for part, told in figures["days"].items():
        shown = [part, f"{told['engagements']:,}"]
        for k in ("50", "200") if told["engagements"] else ():
            low, high = told["text_minus_none"][k]
            shown += [*(f"{told['recall'][name][k]:.4f}" for name in told["recall"]), f"{low:+.4f} to {high:+.4f}"]
        lines.append(shown)
    return figures, (header, lines)


def truth(settings: Settings, lake: Lake) -> tuple[dict[str, Any], Table]:
    """Position bias met in five ways, judged by the simulator's truth."""
    from benchmarks import models_truth
    from recsys.sources.simulator import Simulator

    source = open_source(settings)
    if not isinstance(source, Simulator):
        return {}, (["the truth is known on the simulator only (RECSYS_SOURCE=simulator)"], [])
    figures = models_truth.run(lake, source, Border.of(settings), settings.seed)
    lines = [[name, *(f"{value:.4f}" for value in told.values())] for name, told in figures["methods"].items()]
    curve = [
        "place: recovered / true",
        *(f"{c['recovered']:+.2f} / {c['true']:+.2f}" for c in figures["position_curve"].values()),
    ]
    return figures, (
        ["click model", "NDCG@5 of true relevance", "regret@5"],
        [*lines, [": ".join([curve[0], ", ".join(curve[1:])]), "", ""]],
    )


SECTIONS: Mapping[str, Callable[[Settings, Lake], tuple[dict[str, Any], Table]]] = {
    "ranking": ranking,
    "retrieval": retrieval,
    "protocol": protocol,
    "towers": towers,
    "cold": cold,
    "truth": truth,
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        print(f"no section {', '.join(unknown)}: there are {', '.join(SECTIONS)}", file=sys.stderr)
        return 2
    settings = from_environment()
    lake = Lake(settings.home)
    if not (lake.models / "ranker" / "ranker.json").exists():
        print(f"{settings.home} holds no trained ranker: `make run` first", file=sys.stderr)
        return 2
    if not (lake.reports / "evaluation.json").exists():
        print(f"{settings.home} holds no finished run: `make run` first", file=sys.stderr)
        return 2
    source = json.loads((lake.reports / "evaluation.json").read_text())["source"]
    if source != settings.source:
        said = f"{settings.home} was made of {source}, not of {settings.source}: set RECSYS_SOURCE (and RECSYS_DATA)"
        print(f"{said} as they were for `make run`", file=sys.stderr)
        return 2
    try:
        import implicit  # noqa: F401
        import lightgbm  # noqa: F401
    except ImportError as error:
        print(f"{error.name} is missing: `make bench-models` installs the peers", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    path, sections = lake.reports / "bench_models.json", dict[str, Any]()
    if path.exists():
        sections = json.loads(path.read_text())
    for name in names or SECTIONS:
        print(f"\n== {name}", flush=True)
        began = time.monotonic()
        figures, (header, lines) = SECTIONS[name](settings, lake)
        text = _markdown(header, lines)
        facts = {"source": settings.source, "machine": machine, "seconds": time.monotonic() - began}
        sections[name] = {**facts, **figures, "table": text}
        Console(soft_wrap=True).print(text, highlight=False, markup=False)
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(report.plain(sections), indent=1, allow_nan=False))
    with replacing(lake.reports / "bench_models.md") as temporary:
        temporary.write_text("\n".join(f"## {name}\n\n{told['table']}\n" for name, told in sections.items()))
    print(f"\nwritten to {path}")
    return 0


def _span(name: str, intervals: Mapping[str, Sequence[float]]) -> str:
    low, high = intervals["auc_long_view"]
    return f"(its own: {low:.4f} to {high:.4f})" if name == OURS else f"{low:+.4f} to {high:+.4f}"


def _days(parts: Mapping[str, pl.DataFrame]) -> dict[str, Any]:
    return {
        "days": {part: [frame["date"].min(), frame["date"].max()] for part, frame in parts.items()},
        "impressions": {part: frame.height for part, frame in parts.items()},
    }


def _markdown(header: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
