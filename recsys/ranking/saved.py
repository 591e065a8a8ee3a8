"""A ranker read back, whatever its kind; each kind brings its library only when it is met."""

from __future__ import annotations

from pathlib import Path

from recsys.ranking.ranker import FILE, Ranker, RankerError, read_header


def load_ranker(folder: Path) -> Ranker:
    """The ranker that was saved there.

    Raises:
        RankerError: when the folder holds none, or one of an unknown kind.
    """
    header = read_header(folder)
    if header.get("kind") == "xgboost":
        from recsys.ranking.xgboost_ranker import XGBoostRanker

        return XGBoostRanker.load(folder)
    if header.get("kind") == "mmoe":
        from recsys.ranking.mmoe import MMoERanker

        return MMoERanker.load(folder)
    if header.get("kind") == "blend":
        from recsys.ranking.blend import BlendRanker

        return BlendRanker.load(folder, load_ranker)
    if header.get("kind") == "factors":
        from recsys.ranking.factors import FactorRanker

        return FactorRanker.load(folder)
    if header.get("kind") == "heuristic":
        from recsys.ranking.heuristics import HeuristicRanker

        return HeuristicRanker.load(folder)
    raise RankerError(f"{folder / FILE} holds a ranker of kind {header.get('kind')!r}: materialize ranker again")
