"""A ranker read back, whatever its kind; each kind brings its library only when it is met."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from recsys.ranking.ranker import FILE, Ranker, RankerError, read_header

REFRESHED: Final = "refreshed"  # folder of a bundle: a member of its ranker that has learned the newest days since


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


def load_serving(bundle: Path) -> Ranker:
    """The ranker of a bundle's folder as it serves: what was judged, and in it the member that was refreshed.

    Raises:
        RankerError: as `load_ranker`, or the refreshed one is no member of it.
    """
    ranker = load_ranker(bundle / "ranker")
    if not (bundle / REFRESHED).exists():
        return ranker
    from recsys.ranking.blend import BlendRanker

    newest = load_ranker(bundle / REFRESHED)
    if not isinstance(ranker, BlendRanker) or newest.name not in [member.name for member in ranker.members]:
        raise RankerError(f"{bundle / REFRESHED} is no member of {ranker.name}: materialize bundle again")
    return ranker.with_member(newest)
