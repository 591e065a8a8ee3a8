"""`python -m benchmarks.models_attributes`: what attributes of users bring, on the rows of the last `make run`.

Trees without any attribute, and with the features that read them and one column more of each attribute that is not
declared (its value's place among those of the training rows, -1 where it is not said); towers with and without words:
AUC of clicks and long views, and recall@50 of the whole catalogue, of the test rows of users by the events before
them, with the 95 % interval of the difference (users resampled). The towers are trained as `two_tower` is.
Needs the training sets of RECSYS_HOME.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import torch

from recsys.cleaned.log import read_log
from recsys.cleaned.people import people_of
from recsys.evaluation import metrics
from recsys.evaluation.bootstrap import Resamples, interval
from recsys.events import key64
from recsys.features import sweep
from recsys.features.catalog import ABOUT, ATTRIBUTES, FEATURE_DEFINITIONS, FEATURES, FINGERPRINT
from recsys.features.log import items_from_table
from recsys.features.people import NO_ONE, People
from recsys.lake import Lake
from recsys.ranking import xgboost_ranker
from recsys.retrieval import engagements
from recsys.retrieval.text import with_content
from recsys.retrieval.two_tower_training import TrainingConfig, fit
from recsys.settings import from_environment
from recsys.training_sets.examples import examples
from recsys_assets.defs.evaluation.contenders import tables
from recsys_assets.defs.retrieval.tables import split_tables

CLASSES = {"0": (0, 0), "1 or 2": (1, 2), "3 to 19": (3, 19), "20 and more": (20, 10**9)}
LEAST = 20  # training rows of a value that has a place of its own


def attribute_names(lake: Lake) -> list[str]:
    """Names of what is said of anybody."""
    words = pl.Series(lake.read(lake.table("raw", "user_attributes"), ["attributes"])["attributes"]).explode()
    return words.drop_nulls().str.extract("^([^=~]*)=").drop_nulls().unique().sort().to_list()


def columns(people: People, names: list[str], parts: Mapping[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """The parts with a column an attribute: the first value said, as its place by training rows, -1 none or rare."""
    keys = key64(names)
    first = {}
    for part, frame in parts.items():
        said = people.said(frame["user_key"].to_numpy(), frame["occurred_at"].to_numpy())
        at = said.names[:, :, None] == keys
        word = np.take_along_axis(said.words, np.argmax(at, axis=1), axis=1)
        first[part] = np.where(at.any(axis=1), word, 0)
    made = dict(parts)
    for n, name in enumerate(names):
        known, counts = np.unique(first["train"][:, n], return_counts=True)
        known = known[(counts >= LEAST) & (known != 0)]
        for part, frame in made.items():
            place = np.minimum(np.searchsorted(known, first[part][:, n]), max(len(known) - 1, 0))
            is_known = known[place] == first[part][:, n] if len(known) else np.zeros(frame.height, bool)
            made[part] = frame.with_columns(pl.Series(f"said_{name}", np.where(is_known, place, -1), pl.Float32))
    return made


def trees(lake: Lake, people: People, seed: int) -> None:
    names = [name for name in attribute_names(lake) if name not in ATTRIBUTES]
    plain = tuple(f.name for f in FEATURE_DEFINITIONS if not {*f.inputs} & {*ABOUT} or f.op == "modulo")
    parts = columns(people, names, tables(lake, ("train", "validation", "test")))
    test, threads = parts["test"], os.cpu_count() or 1
    seen = np.expm1(np.maximum(test["user_seen_log_all"].to_numpy(), test["user_impressions_log_all"].to_numpy()))
    predicted = {}
    for kind, features in (("without", plain), ("with", (*FEATURES, *(f"said_{name}" for name in names)))):
        given = (examples(parts[part], features) for part in ("train", "validation"))
        ranker = xgboost_ranker.train(*given, features, FINGERPRINT, threads=threads, seed=seed)
        predicted[kind] = ranker.predict(examples(test, features).inputs)
    for label in ("click", "long_view"):
        for name, (low, high) in CLASSES.items():
            rows = np.flatnonzero((np.rint(seen) >= low) & (np.rint(seen) <= high))
            truth, users = test[label].to_numpy()[rows], test["user_key"].to_numpy()[rows]
            if not 0 < truth.sum() < len(truth):
                continue
            p = {kind: getattr(of, f"p_{label}")[rows] for kind, of in predicted.items()}
            drawn = Resamples.draw(users)
            low_, high_ = interval(drawn.auc(truth, p["with"]) - drawn.auc(truth, p["without"]))
            aucs = ", ".join(f"{kind} {metrics.auc(truth, p[kind]):.4f}" for kind in p)
            print(
                f"trees {label}, {name} events: {len(rows):,} rows, AUC {aucs}; difference {low_:+.4f} to {high_:+.4f}"
            )


def towers(lake: Lake, people: People, seed: int) -> None:
    train, validation, test = split_tables(lake)
    table = lake.read(lake.table("cleaned", "items"))
    items, log = with_content(items_from_table(table), table), read_log(lake)
    before = read_log(lake, before=min(test["date"].to_pylist()))
    learned = engagements.concat(engagements.from_history(before), engagements.from_impressions(train, before))
    judged, asked = (engagements.from_impressions(part, log) for part in (validation, test))
    asked = asked.take(np.flatnonzero(items.known(asked.item_key)))
    history = sweep.histories(log, asked.user_key, asked.position, asked.as_of)
    events = history.engaged().stop - history.engaged().start
    features = engagements.read_rows(log, asked, people)
    own = np.searchsorted(items.item_key, asked.item_key)
    hits = {}
    for kind, said in (("without", NO_ONE), ("with", people)):
        with tempfile.TemporaryDirectory() as folder:
            tower, _ = fit(learned, judged, before, items, TrainingConfig(seed=seed), Path(folder), people=said)
        about = said.words_of(asked.user_key, asked.as_of)
        with torch.inference_mode():
            query = tower.network.queries(history, asked.as_of, features, about)
            vectors = tower.network.embed_queries(query).numpy()
        items_of, hit = tower.embed_items(items), np.empty(len(own))
        for part in np.array_split(np.arange(len(own)), max(1, len(own) // 2_000)):
            scores = vectors[part] @ items_of.T
            hit[part] = (scores > scores[np.arange(len(part)), own[part]][:, None]).sum(axis=1) < 50
        hits[kind] = hit
    for name, (low, high) in CLASSES.items():
        rows = np.flatnonzero((events >= low) & (events <= high))
        if not len(rows):
            continue
        drawn = Resamples.draw(asked.user_key[rows])
        low_, high_ = interval(drawn.per_row(drawn.by_user(hits["with"][rows] - hits["without"][rows])))
        shares = ", ".join(f"{kind} {hit[rows].mean():.4f}" for kind, hit in hits.items())
        print(f"tower, {name} engagements: {len(rows):,} rows, hit@50 {shares}; difference {low_:+.4f} to {high_:+.4f}")


def main() -> None:
    settings = from_environment()
    lake = Lake(settings.home)
    people = people_of(lake)
    if not len(people.words):
        sys.exit(f"nothing is said of users in {lake.home}: RECSYS_WORLD=home, or KuaiRand with its user features")
    for part in sys.argv[1:] or ("trees", "towers"):
        {"trees": trees, "towers": towers}[part](lake, people, settings.seed)


if __name__ == "__main__":
    main()
