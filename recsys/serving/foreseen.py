"""What challengers would get, by the log of the champion: before they are tried on anyone.

What stands at a place that explored was drawn from a pool by a known chance. A challenger would put the item of that
pool there which it scores highest, the rest of the slate as it stood; so its clicks at such places can be estimated,
beside those of the champion's own choice. Pools and their features are in no log: each request is answered again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.experiments.off_policy import Estimate, EstimateRefused, doubly_robust, ips, snips, weights
from recsys.policy.exploration import Explorer
from recsys.ranking.orders import Asked, ByRanker
from recsys.serving.bundle import BundleRefused, ServingBundle
from recsys.serving.replay import UNABLE, again, as_of_then, by_request
from recsys.store.online import OnlineStore

LATEST: Final = 5_000  # requests that are answered again at most, two reads of the past each
ROUNDED: Final = 10  # digits of what is kept
ESTIMATORS: Final = ("ips", "snips", "doubly_robust")
OWN: Final = "champion"  # the name of its own choice among the others


@dataclass
class Places:
    """Places that explored and were seen; lists have one entry each."""

    request: list[int] = field(default_factory=list)
    click: list[float] = field(default_factory=list)
    propensity: list[float] = field(default_factory=list)
    expected: list[float] = field(default_factory=list)  # by the champion, of what was drawn
    chosen: dict[str, list[bool]] = field(default_factory=dict)  # by whom: what was drawn is what they would show
    of_chosen: dict[str, list[float]] = field(default_factory=dict)  # expected by the champion of what they would show
    left_out: Counter[str] = field(default_factory=Counter)  # why a request could not be answered again

    def report(self) -> dict[str, Any]:
        """Of the champion's own choice and of each challenger: clicks a place by each estimator, or why not."""
        click, expected = np.array(self.click), np.array(self.expected)
        propensity, group = np.array(self.propensity), np.array(self.request)
        told: dict[str, Any] = {"places": len(click), "left_out": dict(self.left_out)}
        for name, chosen in self.chosen.items():
            told[name] = {}
            for how in ESTIMATORS:
                try:
                    weight = weights(propensity, np.array(chosen, float))
                    if how == "doubly_robust":
                        made = doubly_robust(click, weight, expected, np.array(self.of_chosen[name]), group)
                    else:
                        made = {"ips": ips, "snips": snips}[how](click, weight, group)
                    told[name][how] = _told(made)
                except EstimateRefused as refused:
                    told[name][how] = str(refused)
        return told


def _told(made: Estimate) -> dict[str, Any]:
    low, high = made.interval
    return {name: round(value, ROUNDED) for name, value in {**asdict(made), "low": low, "high": high}.items()}


def words(told: Mapping[str, Any], challenger: str) -> str:
    """The estimate of a challenger in one line."""
    mine, own = (told[name]["doubly_robust"] for name in (challenger, OWN))
    if isinstance(mine, str) or isinstance(own, str):
        return f"not estimated from {told['places']:,} places that explored: {mine if isinstance(mine, str) else own}"
    return (
        f"estimated {mine['value']:.4f} clicks a place ({mine['low']:.4f} to {mine['high']:.4f}) where the champion's "
        f"own choice gets {own['value']:.4f} ({own['low']:.4f} to {own['high']:.4f}); {mine['effective']:,.0f} "
        f"effective of {mine['rows']:,} places, overlap {mine['overlap']:.2f}"
    )


def foreseen(
    served: pa.Table,
    clicked: Mapping[tuple[str, str], bool],
    store: OnlineStore,
    champion: Callable[[str], ServingBundle],
    explorer: Explorer,
    challengers: Mapping[str, ServingBundle],
    latest: int = LATEST,
) -> Places:
    """The exploring places of one champion's log, as it and its challengers would fill them.

    Args:
        served: rows of a served log (served_log.SCHEMA) of requests that the champion answered, with their features or
            without.
        clicked: (request_id, item_id) of what was seen, and whether it was clicked.
        champion: a bundle as it was published.
        explorer: draws as the service did.
        challengers: by id, of the same features.
    """
    names = (OWN, *challengers)
    found = Places(chosen={name: [] for name in names}, of_chosen={name: [] for name in names})
    bundles: dict[tuple[str, int], ServingBundle] = {}
    for number, rows in enumerate(by_request(served.filter(pc.equal(served["explored"], True)), latest)):
        seen = {row["slot"]: row for row in rows if (row["request_id"], row["item_id"]) in clicked}
        first, made_of = rows[0], (rows[0]["bundle"], rows[0]["late_records"] or 0)
        if not seen:
            continue
        try:
            if made_of not in bundles:
                bundles[made_of] = as_of_then(champion(made_of[0]), made_of[1], store)
            bundle = bundles[made_of]
            steps, scene, ranked, course = again(first, store, bundle, explorer)
            orders = {name: other.order(scene.shelf_name) for name, other in challengers.items()}
            if not all(isinstance(order, ByRanker) for order in orders.values()):
                raise BundleRefused(f"shelf {scene.shelf_name} is ordered by habits")  # which bundles count apart
        except UNABLE as why:
            found.left_out[str(why)] += 1
            continue
        drawn = steps.drawn(bundle, scene, ranked, steps.chosen(bundle, scene, ranked, first["k"]), course)
        for slot, row in seen.items():
            pool = drawn.pools.get(slot)
            if pool is None or bundle.catalogue.ids(ranked.pool.rows[drawn.chosen[slot : slot + 1]]) != [
                row["item_id"]
            ]:
                found.left_out["another slate came of it"] += 1
                continue
            assert ranked.inputs is not None
            inputs, at = ranked.inputs.take(pool), int(np.flatnonzero(pool == drawn.chosen[slot])[0])
            promised = np.nan_to_num(bundle.ranker.predict_only(inputs, ("p_click",))["p_click"].astype(np.float64))
            scores = {
                name: order.scores(Asked(inputs, ranked.pool.fused[pool], _no_habits)) for name, order in orders.items()
            }
            for name, of_pool in {OWN: ranked.scores[pool], **scores}.items():
                best = int(np.lexsort((inputs.item_key, -of_pool))[0])
                found.chosen[name].append(best == at)
                found.of_chosen[name].append(float(promised[best]))
            found.request.append(number)
            found.click.append(float(clicked[row["request_id"], row["item_id"]]))
            found.propensity.append(row["propensity"])
            found.expected.append(float(promised[at]))
    return found


def _no_habits() -> np.ndarray:
    raise AssertionError("a ranker reads no habits")
