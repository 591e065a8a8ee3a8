"""Team-draft interleaving (Radlinski, Kurup, Joachims 2008): two rankings in one slate, each click a vote for one.

The service mixes the orders that two bundles give the same candidates; the served log keeps each place's team.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final, TypeVar

import numpy as np

from recsys.experiments.assignment import place_of

FIRST, SECOND = TEAMS = (0, 1)
HALF: Final = 0.5
INTERLEAVED: Final = "interleaved"  # in the served log: the policy, with the second bundle's id, and a place's cause
T = TypeVar("T", bound=Hashable)


def policy_of(bundle_id: str) -> str:
    """The policy of a slate that mixes in a bundle's ranking."""
    return f"{INTERLEAVED} {bundle_id}"


def mixed_in(policy: str | None) -> str | None:
    """The bundle whose ranking a logged slate mixes in; None where it mixes none."""
    name, _, bundle_id = (policy or "").partition(" ")
    return bundle_id if name == INTERLEAVED else None


def team_draft(first: Sequence[T], second: Sequence[T], k: int, key: str) -> tuple[list[T], np.ndarray]:
    """A slate of at most k items, and the team of each, int8[n].

    The team with fewer items picks the best that it has left. Where both have as many, a coin decides: a hash of the
    request's key and the round.
    """
    rankings, picks = (first, second), [0, 0]
    slate: dict[T, int] = {}
    for _ in range(k):
        turn = FIRST if picks[FIRST] < picks[SECOND] else SECOND if picks[SECOND] < picks[FIRST] else None
        if turn is None:
            turn = FIRST if place_of(key, str(len(slate))) < HALF else SECOND
        for team in (turn, 1 - turn):  # a ranking that has no more leaves the place to the other
            item = next((item for item in rankings[team] if item not in slate), None)
            if item is not None:
                slate[item], picks[team] = team, picks[team] + 1
                break
        else:
            break
    return list(slate), np.array(list(slate.values()), np.int8)


def preference(votes_first: np.ndarray, votes_second: np.ndarray) -> tuple[float, float]:
    """Mean preference for the second ranking, -1 to 1, and its standard error: [users] clicks on each team's items.

    A user counts once however much they click; who clicks on none says nothing and counts as undecided. The error
    counts one more user for each side: people who all agree leave none of their own, and nothing could be told of them.
    """
    sign = np.sign(votes_second - votes_first).astype(np.float64)
    error = np.concatenate([sign, [1.0, -1.0]]).std(ddof=1) / np.sqrt(len(sign))
    return float(sign.mean()), float(error)
