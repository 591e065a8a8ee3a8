"""The rankers: learned from train, stopped and calibrated on validation, then fitted to both; test is never seen."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg
from dagster_pyspark import LazyPySparkResource

from recsys.features.catalog import FEATURES, FINGERPRINT
from recsys.lake import Lake
from recsys_assets.content import content
from recsys_assets.resources import Workspace

if TYPE_CHECKING:
    from recsys.ranking.ranker import Ranker
    from recsys.ranking.xgboost_ranker import XGBoostRanker
    from recsys.training_sets.examples import Examples

FEWEST_EXPLORED = 1_000  # training rows: fewer weigh nothing, however they are weighed
FITTED = "on_train"  # beside each ranker: the one that has not seen the validation days, for the contest


class Rows(NamedTuple):
    """What rankers learn from, over one matrix of features."""

    train: "Examples"
    validation: "Examples"
    both: "Examples"


@dg.asset(deps=["training_set"], kinds={"optuna"}, owners=["team:recsys"])
def ranker_parameters(workspace: Workspace) -> dg.MaterializeResult:
    """The trees' parameters: of a study of RECSYS_TUNING_TRIALS trials, or the defaults when that is 0."""
    import polars as pl

    from recsys.ranking import tuning

    settings, lake = workspace.settings, workspace.lake
    tuned, drawn = tuning.Tuned.load(lake.models / "tuning"), []
    if settings.tuning_trials:
        days = pl.DataFrame(lake.read(lake.table("training_sets", "train"), ["date"]))["date"].to_list()
        train = labelled(lake, "train")
        folds = tuning.folds(train, days[-len(train) :], labelled(lake, "validation"))
        budget = tuning.Budget(settings.tuning_trials, settings.tuning_jobs, settings.tuning_seconds)
        tuned, study = tuning.tune(folds, lake.models / "tuning", budget, seed=settings.seed)
        drawn = tuning.plots(study, lake.reports)
    tuned.save(lake.models / "tuning")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": tuned.trials,
            "parameters": dg.MetadataValue.json(dict(tuned.params)),
            "auc": tuned.auc or 0.0,
            "auc_of_the_defaults": tuned.default_auc or 0.0,
            **{path.stem: dg.MetadataValue.path(path) for path in drawn},
        },
        data_version=content(lake.models / "tuning"),
    )


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            "xgboost_ranker",
            deps=["training_set", "ranker_parameters"],
            kinds={"xgboost"},
            owners=["team:recsys"],
            description="Boosted trees that predict click, long view and watch time, calibrated, and an order within "
            "users and slates.",
        ),
        dg.AssetSpec(
            "mmoe_ranker",
            deps=["training_set", "cleaned_events"],
            kinds={"torch"},
            owners=["team:recsys"],
            description="The neural challenger on the same rows and on imported exposures: it reads what users were "
            "shown before.",
        ),
        dg.AssetSpec(
            "factor_ranker",
            deps=["training_set", "items"],
            kinds={"torch", "numba"},
            owners=["team:recsys"],
            description="The personal ranker: a user's taste is solved at the request from what they opened and what "
            "they passed over.",
        ),
    ],
    can_subset=True,
)
def trained_rankers(
    context: dg.AssetExecutionContext, workspace: Workspace, spark: LazyPySparkResource
) -> Iterator[dg.MaterializeResult]:
    """Those that are asked for, two at a time: each keeps one core busy, and none waits for another."""
    from importlib import import_module

    from recsys.training_sets.threads import side_by_side

    for module in ("ranking.factors_training", "ranking.mmoe_training", "ranking.xgboost_ranker", "evaluation.contest"):
        import_module(f"recsys.{module}")  # here: of two threads that import at once one may meet half a module
    with opened(workspace) as rows:
        # Lightning trains in the main thread, where it and Ctrl-C expect to be: the first is done there
        trainings: dict[str, Callable[[], dg.MaterializeResult]] = {
            "mmoe_ranker": lambda: mmoe_ranker(workspace, rows),
            "factor_ranker": lambda: factor_ranker(workspace, rows),
            "xgboost_ranker": lambda: xgboost_ranker(workspace, rows, spark),
        }
        asked = {name: train for name, train in trainings.items() if dg.AssetKey(name) in context.selected_asset_keys}
        for name, result in side_by_side(asked).items():
            yield result._replace(asset_key=dg.AssetKey(name))


@contextmanager
def opened(workspace: Workspace) -> "Iterator[Rows]":
    """The rows of the training set, in memory or, above RECSYS_ROWS_MB, mapped from a file."""
    from recsys.training_sets import on_disk

    settings, lake = workspace.settings, workspace.lake
    paths = [lake.there(lake.table("training_sets", part)) for part in ("train", "validation")]
    bound = None if settings.rows_mb is None else settings.rows_mb * 1_000_000
    with on_disk.opened(*paths, FEATURES, lake.home / "scratch", bound) as parts:
        yield Rows(*parts)


def xgboost_ranker(workspace: Workspace, rows: Rows, spark: LazyPySparkResource) -> dg.MaterializeResult:
    """The trees, learned and saved. Rows that explored count as they are, unless by their inverse propensities the
    validation days are predicted better beyond chance (reports/explored.json).
    """
    from recsys.evaluation.contest import choose
    from recsys.ranking import xgboost_ranker, xgboost_spark
    from recsys.ranking.tuning import Tuned

    settings, lake = workspace.settings, workspace.lake
    params = Tuned.load(lake.models / "tuning").params
    train, validation, both = rows

    def learned(weighed: bool) -> "tuple[XGBoostRanker, Callable[[], XGBoostRanker]]":
        """Fitted on the train rows, and how it is fitted to both."""
        if settings.engine == "spark":
            paths = lake.table("training_sets", "train"), lake.table("training_sets", "validation")
            told: dict[str, Any] = {"seed": settings.seed, "params": params, "weighed": weighed}
            on_train, on_both = xgboost_spark.train(spark.spark_session, *paths, FEATURES, FINGERPRINT, **told)
            return on_train, lambda: on_both
        given: dict[str, Any] = {"threads": threads(), "seed": settings.seed}
        named = {"params": params, "weighed": weighed}
        on_train = xgboost_ranker.train(train, validation, FEATURES, FINGERPRINT, **named, **given)
        return on_train, lambda: xgboost_ranker.refit(on_train, both, **given)

    ways, chosen = {"as they are": learned(weighed=False)}, "as they are"
    if train.explored >= FEWEST_EXPLORED:
        ways["weighed"] = learned(weighed=True)
        predicted = {way: trees.predict(validation.inputs) for way, (trees, _) in ways.items()}
        contest = choose(chosen, predicted, validation)
        contest.save(lake.reports / "explored.json")
        chosen = contest.chosen
    else:  # a report of another training set would tell of other trees
        (lake.reports / "explored.json").unlink(missing_ok=True)
    fitted, refit = ways[chosen]
    ranker = refit()
    _save(lake, fitted, ranker)
    strongest = list(ranker.importances().items())[:15]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": int(ranker.facts["refit_rows"]),
            "fingerprint": FINGERPRINT,
            "heads": dg.MetadataValue.json(dict(ranker.facts)),
            "share_of_gain": dg.MetadataValue.md("\n".join(f"- {name}: {share:.1%}" for name, share in strongest)),
        },
        data_version=content(lake.models / "rankers" / "xgboost"),
    )


def mmoe_ranker(workspace: Workspace, rows: Rows) -> dg.MaterializeResult:
    """The network, learned and saved."""
    import polars as pl

    from recsys.cleaned.log import read_log
    from recsys.ranking import mmoe_training
    from recsys.training_sets.imported import Imported

    lake = workspace.lake
    last_day = pl.DataFrame(lake.read(lake.table("training_sets", "train"), ["date"]))["date"].max()
    config = mmoe_training.TrainingConfig(seed=workspace.settings.seed)
    folder = lake.models / "mmoe_checkpoints"
    given = {"imported": Imported.of(read_log(lake, through=str(last_day))), "config": config, "threads": threads()}
    fitted = mmoe_training.train(rows.train, rows.validation, FEATURES, FINGERPRINT, folder, **given)
    ranker = mmoe_training.refit(fitted, rows.both, rows.validation, folder, **given)
    return _kept(lake, fitted, ranker, len(rows.both))


def factor_ranker(workspace: Workspace, rows: Rows) -> dg.MaterializeResult:
    """The factors, learned and saved."""
    from recsys.ranking import factors_training
    from recsys_assets.defs.retrieval.tables import split_tables

    lake = workspace.lake
    given = recipe_of_factors(lake, min(split_tables(lake)[-1]["occurred_at"].to_pylist()), workspace.settings.seed)
    fitted = factors_training.train(rows.train, rows.validation, FEATURES, FINGERPRINT, **given)
    ranker = factors_training.refit(fitted, rows.both, **given)
    return _kept(lake, fitted, ranker, len(rows.both))


def recipe_of_factors(lake: Lake, until: int, seed: int) -> dict[str, Any]:
    """How factors are learned, whoever learns them: what `factors_training` takes beside rows.

    Args:
        until: UTC ms, items are as they were known then
    """
    from recsys.cleaned.versions import items_before
    from recsys.ranking import factors_training
    from recsys.retrieval.text import tags_of

    tags = factors_training.Tags(*tags_of(items_before(lake, until)))
    return {"tags": tags, "config": factors_training.TrainingConfig(seed=seed), "threads": threads()}


@dg.asset(
    name="ranker", deps=["xgboost_ranker", "mmoe_ranker", "factor_ranker"], kinds={"json"}, owners=["team:recsys"]
)
def chosen_ranker(workspace: Workspace) -> dg.MaterializeResult:
    """The trees, the network or the blend: the trees, unless another is ahead beyond chance in log loss or order.

    The blend orders as the factors do, after a drift as the trees do, unless others order certainly better: then by the
    odds of all members together, where these are among those.
    """
    import shutil
    from dataclasses import replace

    from recsys.evaluation.contest import best_order, choose
    from recsys.ranking.blend import BlendRanker, predict_all
    from recsys.ranking.saved import load_ranker

    lake = workspace.lake
    names, rankers = ("xgboost", "mmoe", "factors"), lake.models / "rankers"
    validation = labelled(lake, "validation")
    fitted = {name: load_ranker(rankers / name / FITTED) for name in names}
    blend = BlendRanker.fit(list(fitted.values()), validation, orders=None)
    predicted = predict_all({**fitted, "blend": blend}, validation.inputs)
    # trees and network learn what a policy chose to show from counters of what was shown. As an order of what it never
    # showed, theirs is worth what one list for all is worth (true P(long view) of slates: docs/results.md). Where the
    # last hours of a day are judged on, the world has moved: the levels that factors learned over weeks are of the one
    # before, and the trees' counters have moved on (true P(click) after a turn: .39 to .43, by factors .22)
    usual = "xgboost" if days_of(lake, "validation") <= days_of(lake, "train") else "factors"
    # who is ahead of the usual on what the log showed may be behind on what it never did; all together keep the usual's
    # voice. True P(long view) of home's slates, two seeds: .001 to .050 above the network's, where that was certainly
    # ahead on the log too. They cost what three rankers cost
    if (best := best_order(usual, predicted, validation, together="blend")) != "blend":
        blend = replace(blend, orders=names.index(best))
        predicted["blend"] = replace(predicted["blend"], score=predicted[best].score)
    del predicted["factors"]  # it tells no watch time: it serves within the blend
    contest = choose("xgboost", predicted, validation)
    blend.with_members([load_ranker(rankers / name) for name in names]).save(rankers / "blend")
    shutil.rmtree(lake.models / "ranker.new", ignore_errors=True)
    load_ranker(rankers / contest.chosen).save(lake.models / "ranker.new")
    shutil.rmtree(lake.models / "ranker", ignore_errors=True)
    (lake.models / "ranker.new").rename(lake.models / "ranker")
    contest.save(lake.reports / "contest.json")
    lines = [
        f"- {name}: log loss {shown.log_loss:.4f}, ndcg@5 {shown.ndcg:.4f}" for name, shown in contest.entrants.items()
    ]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(validation),
            "chosen": contest.chosen,
            "reason": contest.reason,
            "blend_ordered_by": "all members" if blend.orderer is None else blend.orderer.name,
            "validation": dg.MetadataValue.md("\n".join(lines)),
        },
        data_version=content(lake.models / "ranker"),
    )


def labelled(lake: Lake, part: str) -> "Examples":
    """Rows of one part of the training set; of a log with drawn negatives the newest."""
    from recsys.training_sets import on_disk

    return on_disk.part(lake.there(lake.table("training_sets", part)), FEATURES)


def days_of(lake: Lake, part: str) -> set[str]:
    """The days of one part of the training set."""
    return set(lake.read(lake.table("training_sets", part), ["date"])["date"].unique().to_pylist())


def _save(lake: Lake, fitted: "Ranker", ranker: "Ranker") -> None:
    folder = lake.models / "rankers" / ranker.name
    fitted.save(folder / FITTED)
    ranker.save(folder)


def _kept(lake: Lake, fitted: "Ranker", ranker: "Ranker", rows: int) -> dg.MaterializeResult:
    """What learned in memory, saved and told."""
    _save(lake, fitted, ranker)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": rows,
            "fingerprint": FINGERPRINT,
            "facts": dg.MetadataValue.json(dict(ranker.facts)),
        },
        data_version=content(lake.models / "rankers" / ranker.name),
    )


def threads() -> int:
    """Half the cores: where others compute too, boosting threads that wait for each other in a spin cost more than they
    bring (40 rounds on two busy cores: 3.4 s with one thread, 24 s with two).
    """
    return max(1, (os.cpu_count() or 1) // 2)


@dg.asset_check(asset="ranker", blocking=True)
def ranker_speaks_the_catalogue(workspace: Workspace) -> dg.AssetCheckResult:
    """The saved ranker loads, and was trained on the features that the service derives."""
    from recsys.ranking.saved import load_ranker

    ranker = load_ranker(workspace.lake.models / "ranker")
    passed = ranker.fingerprint == FINGERPRINT and ranker.feature_names == FEATURES
    return dg.AssetCheckResult(
        passed=passed,
        description=f"{len(ranker.feature_names)} features, fingerprint {ranker.fingerprint}, catalogue {FINGERPRINT}",
    )
