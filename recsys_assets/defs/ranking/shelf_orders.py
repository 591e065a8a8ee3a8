"""What shelves learn for themselves, beside the ranker that they share."""

from dataclasses import replace
from typing import TYPE_CHECKING

import dagster as dg
import numpy as np

from recsys.features.catalog import FEATURES
from recsys.lake import Lake
from recsys_assets.content import content
from recsys_assets.resources import Workspace

if TYPE_CHECKING:
    import polars as pl

    from recsys.features.log import EventLog
    from recsys.policy.shelves import Shelf
    from recsys.ranking.habits import Sessions
    from recsys.ranking.orders import ByRanker
    from recsys.ranking.ranker import Ranker
    from recsys.serving.bundle import ServingBundle

MOST_SESSIONS = 4_000  # the newest; the trees have 17 columns
# What the sources may count beside the ranker's log odds; of the last theirs is nearly the whole order.
WEIGHTS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 50.0)


@dg.asset(deps=["training_set", "cleaned_events", "item_index", "ranker"], kinds={"xgboost"}, owners=["team:recsys"])
def shelf_orders(workspace: Workspace) -> dg.MaterializeResult:
    """An order for each shelf whose row asks for one of its own, from sessions before the test days; of the others how
    much the sources count beside the ranker that they share.
    """
    import shutil

    from recsys.cleaned.log import read_log
    from recsys.policy.shelves import SHELVES
    from recsys.ranking.habits import HabitRanker
    from recsys.ranking.orders import HABITS_ALONE, RANKER, ByHabits

    lake, learned = workspace.lake, {}
    first_day = min(lake.read(lake.table("training_sets", "test"), ["date"])["date"].to_pylist())
    log, folder = read_log(lake, before=first_day), lake.models / "shelves"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name, shelf in SHELVES.items():
        if shelf.order == RANKER:
            if (weighed := _beside_retrieval(workspace, log, name, shelf)).retrieval:
                weighed.save_beside(folder / name)
            continue
        seed = workspace.settings.seed
        if shelf.order == HABITS_ALONE:
            sessions = _sessions(lake, log, name, shelf)
            ranker, learned[name] = HabitRanker.of_sessions(sessions, seed), int(sessions.is_wanted.sum())
        else:
            shown = _impressions(lake, log, shelf)
            ranker, learned[name] = HabitRanker.of_impressions(*shown, seed), len(shown[0])
        if ranker is not None:
            ByHabits(ranker).save_beside(folder / name)
    return dg.MaterializeResult(
        metadata={"dagster/row_count": sum(learned.values()), "sessions": dg.MetadataValue.json(learned)},
        data_version=content(folder),
    )


def _impressions(lake: Lake, log: "EventLog", shelf: "Shelf") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every impression of a shelf's types on the validation days, wherever it was shown.

    Returns:
        Scores of the shared ranker from before it had learned from those days, habits of whoever saw it, successes.
    """
    import polars as pl

    from recsys.evaluation.shelves import label_in
    from recsys.features import sweep
    from recsys.features.judged import Judgements
    from recsys.policy.value import value
    from recsys.ranking.habits import COLUMNS
    from recsys.ranking.saved import load_ranker
    from recsys.serving.scene import habits_of
    from recsys.training_sets.inputs import Inputs
    from recsys_assets.defs.evaluation.rehearsed import trained

    ranker = load_ranker(lake.models / "ranker")
    bundle, _ = trained(lake, ranker)
    frame = _of_types(bundle, shelf, pl.DataFrame(lake.read(lake.table("training_sets", "validation"))))
    frame = frame.with_columns(slot=pl.lit(0.0, pl.Float32))
    fitted = on_train(lake, ranker)
    score = value(fitted.predict_only(Inputs.of(frame, FEATURES), shelf.weights), shelf.weights)
    user, at = frame["user_key"].to_numpy(), frame["occurred_at"].to_numpy()
    position, rows = sweep.read_positions(log, at), bundle.retriever.rows(frame["item_key"].to_numpy())
    judgements, habits = Judgements.of_log(log), np.zeros((len(rows), len(COLUMNS)))
    _, moment = np.unique(np.stack([user, at]), axis=1, return_inverse=True)
    order = np.argsort(moment, kind="stable")
    for of in np.split(order, np.flatnonzero(np.diff(moment[order])) + 1) if len(order) else ():
        judged = judgements.of(int(user[of[0]]), int(position[of[0]]))
        habits[of] = habits_of(bundle.retriever, shelf.unit, judged, rows[of], int(at[of[0]]))
    label = label_in(log, shelf)
    return score, habits, frame[label if label == "click" else "long_view"].to_numpy() > 0


def _beside_retrieval(workspace: Workspace, log: "EventLog", name: str, shelf: "Shelf") -> "ByRanker":
    """The ranker with the least weight of what the sources propose that is not certainly behind a larger one, by what
    people engaged with next on the validation days. Towers and ranker have not seen those days.

    Next items tell what a policy showed as well as what people wanted. So where the truth about slates is known they
    decide nothing: on the simulator `trending` (.043) hits more of them than the best ten for each person (.037).
    """
    import polars as pl

    from recsys.evaluation import served
    from recsys.privacy.border import Border
    from recsys.ranking.orders import ByRanker
    from recsys.ranking.saved import load_ranker
    from recsys.serving.rehearsal import Rehearsal, weighed
    from recsys.sources.opening import open_source
    from recsys_assets.defs.evaluation.rehearsed import trained
    from recsys_assets.defs.evaluation.slates_judged import requests_of, truth_of
    from recsys_assets.defs.retrieval.towers import TOWERS_ON_TRAIN

    lake, settings = workspace.lake, workspace.settings
    ranker = on_train(lake, load_ranker(lake.models / "ranker"))
    order = ByRanker(ranker, shelf.weights)
    bundle, history = trained(lake, ranker, TOWERS_ON_TRAIN)
    frame = pl.DataFrame(
        lake.read(
            lake.table("training_sets", "validation"), ["user_id", "user_key", "item_key", "occurred_at", "position"]
        )
    )
    requests = requests_of(_of_types(bundle, shelf, frame))
    if truth_of(open_source(settings), Border.of(settings), requests, bundle.catalogue.item_id) is not None:
        return order
    made = Rehearsal(bundle, log, history, requests.user_id, requests.at, name)
    allowed = [made.allowed(place) for place in range(len(requests.at))]
    wanted = served.next_items(log, bundle.catalogue.candidates.item_key, requests, allowed)
    return replace(order, retrieval=WEIGHTS[served.least(weighed(made, order, WEIGHTS), wanted)])


def _of_types(bundle: "ServingBundle", shelf: "Shelf", frame: "pl.DataFrame") -> "pl.DataFrame":
    """The impressions of items that the shelf may hold."""
    import polars as pl

    candidates = bundle.catalogue.candidates
    keys = candidates.item_key[np.isin(candidates.item_type, list(shelf.type_codes))]
    return frame.filter(pl.col("item_key").is_in(keys.tolist()))


def on_train(lake: Lake, ranker: "Ranker") -> "Ranker":
    """The same ranker from before it learned from the validation days."""
    from recsys.ranking.blend import BlendRanker
    from recsys.ranking.saved import load_ranker
    from recsys_assets.defs.ranking.ranker import FITTED

    folder = lake.models / "rankers"
    if isinstance(ranker, BlendRanker):
        return ranker.with_members([load_ranker(folder / member.name / FITTED) for member in ranker.members])
    return load_ranker(folder / ranker.name / FITTED)


def _sessions(lake: Lake, log: "EventLog", name: str, shelf: "Shelf") -> "Sessions":
    """What the service would have had to choose from at the start of each session, and what was played first of it."""
    from recsys.ranking.habits import COLUMNS, Sessions
    from recsys.ranking.saved import load_ranker
    from recsys.serving.rehearsal import Rehearsal
    from recsys_assets.defs.evaluation.rehearsed import trained
    from recsys_assets.defs.evaluation.shelves_judged import first_starts, users

    bundle, history = trained(lake, load_ranker(lake.models / "ranker"))
    known, sessions = users(lake), first_starts(bundle, log, shelf)
    newest = np.sort(np.argsort(-sessions.at, kind="stable")[:MOST_SESSIONS])
    asked = sessions.take(newest[[key in known for key in sessions.user_key[newest].tolist()]])
    made = Rehearsal(bundle, log, history, [known[key] for key in asked.user_key.tolist()], asked.at, name)
    habits, session, is_wanted = [np.zeros((0, len(COLUMNS)))], [np.zeros(0, np.int64)], [np.zeros(0, bool)]
    for place, (pool, played) in enumerate(zip(made.pools, asked.played, strict=True)):
        units = made.scenes[place].units(bundle, pool.rows)
        first = played[np.isin(played, units)][:1]
        if len(first):
            habits.append(made.habits(place))
            session.append(np.full(len(units), place))
            is_wanted.append(units == first[0])
    return Sessions(np.concatenate(habits), np.concatenate(session), np.concatenate(is_wanted))
