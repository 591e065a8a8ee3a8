"""What a bundle has to know of the log that it learned from, beside its models: `about_log.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from recsys.lake import replacing
from recsys.sources.derived import Rules
from recsys.sources.negatives import desampled

FILE: Final = "about_log.json"


@dataclass(frozen=True)
class AboutLog:
    """What the log lacked: which events are derived from those told, and how the odds of its rows were sampled."""

    derives: Rules = field(default_factory=Rules)
    log_odds_kept: float = 0.0  # `negatives.log_odds_kept` of the rows that calibrated the ranker

    def told(self, predictions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The predictions that an answer tells: among all items that might be shown, not among the sampled ones."""
        if self.log_odds_kept == 0.0:
            return dict(predictions)
        clicks, seconds = predictions["p_click"], predictions["watch_seconds"]
        among_all = desampled(clicks, self.log_odds_kept)
        return {**predictions, "p_click": among_all, "watch_seconds": seconds * (among_all / clicks)}

    def save(self, folder: Path) -> None:
        with replacing(folder / FILE) as temporary:
            temporary.write_text(json.dumps({**asdict(self), "derives": self.derives._asdict()}))

    @staticmethod
    def load(folder: Path) -> AboutLog:
        """What `save` wrote; of a bundle from before it, that nothing is derived or sampled.

        Raises:
            ValueError: the file is not readable.
        """
        if not (folder / FILE).exists():
            return AboutLog()
        saved = json.loads((folder / FILE).read_text())
        return AboutLog(Rules(**saved["derives"]), float(saved["log_odds_kept"]))
