"""Two towers: a user's history and context, and an item's attributes, as unit vectors whose inner product says taste.

`TwoTower` (two_tower_network.py) is the network, `QueryTower` the trained and frozen one with numpy on both sides. Both
towers share one item table, so they are saved, versioned and published together, under one fingerprint that the
collection carries too.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from recsys.features import catalog
from recsys.features.log import Items
from recsys.lake import replacing
from recsys.retrieval.two_tower_query import CONTEXT_COLUMNS, NOTHING_KNOWN, TowerConfig, embed, weights_of
from recsys.training_sets import states

if TYPE_CHECKING:
    from recsys.retrieval.two_tower_network import TwoTower

IDENTITIES: Final = "identities"  # beside a network's state: what each item of its catalogue is, [items + 1, dim]


class TowerError(RuntimeError):
    """A saved tower is missing, damaged, or was made for other features; the message says which."""


class QueryTower:
    """The trained towers, frozen: numpy in, numpy out, the same bytes for the same row."""

    WEIGHTS: Final = "weights.npz"
    FACTS: Final = "tower.json"

    def __init__(self, config: TowerConfig, state: states.State, trained_until: int) -> None:
        """
        Args:
            state: of a TwoTower that is frozen, and its IDENTITIES
            trained_until: instant (ms) of the last event learned from; items are embedded as of then
        """
        self.config, self.state, self.trained_until = config, state, trained_until
        self.dim = config.dim
        if IDENTITIES not in state:  # saved before they were kept
            from recsys.retrieval.two_tower_network import identities_of

            self.state = {**state, IDENTITIES: identities_of(self.network)}
        self._weights = weights_of(self.state, self.state[IDENTITIES])
        digest = hashlib.sha256(f"{catalog.FINGERPRINT}{asdict(config)}{trained_until}".encode())
        for name, values in sorted(state.items()):
            if name != IDENTITIES:
                digest.update(name.encode())
                digest.update(values.tobytes())
        self.fingerprint: str = digest.hexdigest()[:16]

    @classmethod
    def of(cls, network: TwoTower, trained_until: int) -> QueryTower:
        """The towers of a trained network."""
        from recsys.retrieval.two_tower_network import identities_of

        network.cpu().eval().freeze()
        tower = cls(network.config, {**states.state_of(network), IDENTITIES: identities_of(network)}, trained_until)
        tower.network = network
        return tower

    @cached_property
    def network(self) -> TwoTower:
        """What learns, and embeds items."""
        from recsys.retrieval.two_tower_network import network_of

        return network_of(self.config, {name: of for name, of in self.state.items() if name != IDENTITIES})

    def embed_user(
        self,
        item_keys: np.ndarray,
        kinds: np.ndarray,
        occurred_at: np.ndarray,
        as_of: int,
        features: np.ndarray,
        about: np.ndarray | None = None,
    ) -> np.ndarray:
        """Unit vector float32[dim] of one request.

        By these loops in evaluation too (two_tower_query.py): a matrix product rounds by its shape.

        Args:
            item_keys, kinds, occurred_at: a history in log order (oldest first), int64, int8, int64 [m]
            as_of: instant of the request, UTC ms
            features: float32[len(catalog.FEATURES)], any candidate's row: only what all candidates share is read
            about: words about the user, int64[ABOUT_WORDS], 0 none (`engagements.about_rows`)
        """
        shelf, device, hour = features[CONTEXT_COLUMNS].astype(np.int64).tolist()
        vector = np.empty(self.dim, np.float32)
        words = NOTHING_KNOWN if about is None else about
        embed(self._weights, item_keys, kinds, occurred_at, as_of, shelf, device, hour, words, vector)
        return vector

    @property
    def given_length(self) -> int:
        """Numbers of the embeddings that items are given; 0 where they were given none."""
        return self.state["given.weight"].shape[1] if "given.weight" in self.state else 0

    def embed_items(self, items: Items) -> np.ndarray:
        """Unit vectors float32[n, dim], in the order of `items`; an item never seen in training has one too."""
        from recsys.retrieval.two_tower_network import embedded

        return embedded(self.network, items, self.trained_until)

    def save(self, folder: Path) -> None:
        """Write the towers into `folder`: weights, and facts that name config, features and fingerprint."""
        folder.mkdir(parents=True, exist_ok=True)
        facts = {
            "config": asdict(self.config),
            "features": catalog.FINGERPRINT,
            "fingerprint": self.fingerprint,
            "trained_until": self.trained_until,
        }
        states.write(folder / self.WEIGHTS, self.state)
        with replacing(folder / self.FACTS) as path:
            path.write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")

    @classmethod
    def load(cls, folder: Path) -> QueryTower:
        """The towers of `folder`.

        Raises:
            TowerError: a file is missing or damaged, or the towers were trained on other features than the catalogue's.
        """
        try:
            facts = json.loads((folder / cls.FACTS).read_text())
            state = states.read(folder / cls.WEIGHTS)
            if facts["features"] != catalog.FINGERPRINT:
                raise TowerError(
                    f"the towers in {folder} read features {facts['features']}, this code computes "
                    f"{catalog.FINGERPRINT}: train them again (materialize two_tower)"
                )
            tower = cls(TowerConfig(**facts["config"]), state, int(facts["trained_until"]))
        except FileNotFoundError as error:
            raise TowerError(f"{error.filename} is missing: materialize two_tower first") from None
        except TowerError:
            raise
        except Exception as error:  # a torn file raises a dozen kinds
            raise TowerError(
                f"the towers in {folder} cannot be read ({' '.join(str(error).split()):.120}): materialize two_tower"
            ) from error
        if tower.fingerprint != facts["fingerprint"]:
            raise TowerError(f"the towers in {folder} are not what was saved there: materialize two_tower again")
        return tower
