"""The factors once more, from the test days too: what orders slates knows the items and the tastes of yesterday."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import dagster as dg

from recsys.lake import Lake
from recsys_assets.content import content
from recsys_assets.resources import Workspace

if TYPE_CHECKING:
    from recsys.ranking.factors import FactorRanker
    from recsys.training_sets.examples import Examples


@dg.asset(deps=["training_set", "items", "ranker"], kinds={"torch", "numba"}, owners=["team:recsys"])
def refreshed_factors(workspace: Workspace) -> dg.MaterializeResult:
    """The factors of the blend, learned anew from all days by the recipe that the test days judge.

    The verdict is about the blend that has not seen those days; a bundle holds both, and serves with this member in its
    place (docs/adr/0014-what-serves-has-learned-the-newest-days.md). Nothing, where the reason says why.
    """
    import shutil

    from recsys.ranking.factors import FactorRanker
    from recsys.ranking.inside import members
    from recsys.ranking.saved import load_ranker

    models = workspace.lake.models
    shutil.rmtree(models / "refreshed", ignore_errors=True)
    (models / "refreshed").mkdir(parents=True)
    ranker = load_ranker(models / "ranker")
    judged = [member for member in members(ranker) if isinstance(member, FactorRanker) and member is not ranker]
    rows, reason = _refresh(workspace, judged[0]) if judged else (0, "the chosen ranker is no blend with factors")
    return dg.MaterializeResult(
        metadata={"dagster/row_count": rows, "reason": reason}, data_version=content(models / "refreshed")
    )


def _refresh(workspace: Workspace, judged: "FactorRanker") -> tuple[int, str]:
    """Save the refreshed member, and how many rows it learned; or 0, and why there is none."""
    from recsys.evaluation.contest import choose
    from recsys.ranking.factors import READ
    from recsys.training_sets.examples import worth_learning

    lake = workspace.lake
    *learned, test = parts_of(lake)
    if not worth_learning(len(test), sum(map(len, learned))):
        return 0, f"{len(test)} rows of the test days are less than a hundredth of what is learned"
    until = max(lake.read(lake.table("training_sets", "test"), ["occurred_at"])["occurred_at"].to_pylist())
    newest = refreshed(lake, judged, [*learned, test], until, workspace.settings.seed)
    # it has learned these rows and the judged one has not: where it is behind on them it is at fault
    both = {"refreshed": newest, "judged": judged}
    told = {name: replace(who, feature_names=READ).predict(test.inputs) for name, who in both.items()}
    if (contest := choose("refreshed", told, test)).chosen != "refreshed":
        return 0, contest.reason
    newest.save(lake.models / "refreshed" / newest.name)
    return int(newest.facts["refit_rows"]), contest.reason


def parts_of(lake: Lake) -> "list[Examples]":
    """Rows of each part of the training set, with the features alone that factors read."""
    from recsys.ranking.factors import READ
    from recsys.training_sets import on_disk
    from recsys.training_sets.split import PARTS

    return [on_disk.part(lake.table("training_sets", part), READ) for part in PARTS]


def refreshed(lake: Lake, judged: "FactorRanker", parts: "Sequence[Examples]", until: int, seed: int) -> "FactorRanker":
    """Learned anew from rows as `parts_of` has them; the calibrations are those of `judged`.

    Args:
        until: UTC ms, items are as they were known then
    """
    from recsys.lake import content_hash
    from recsys.ranking import factors_training
    from recsys.ranking.factors import READ
    from recsys.training_sets.examples import concat
    from recsys_assets.defs.ranking.ranker import recipe_of_factors

    known, recipe = replace(judged, feature_names=READ), recipe_of_factors(lake, until, seed)
    newest = factors_training.refit(known, concat(*parts), **recipe)
    facts = {**newest.facts, "refreshes": content_hash(lake.models / "ranker" / judged.name), "until": until}
    return replace(newest, feature_names=judged.feature_names, medians=judged.medians, facts=facts)
