#!/usr/bin/env bash
# Expected: onnxmltools exports a LightGBM model so that ONNX Runtime gives its predictions, or it refuses.
# Happens: it exports the trees and drops what stands around them, without a word. `linear_tree` loses the lines in the
# leaves, `reg_sqrt` the square, `sigmoid=2` the 2. A random forest (`rf`) is divided by 100, whatever its number of
# trees; that of a classifier has no probability over .01, so everything is class 0. treelite gives the model's own
# predictions, and refuses linear trees.
# Matters: what is served is another model: its probabilities, thresholds and expected watch times, and with linear trees
# and forests that classify the order too. A check of the usual objectives passes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: lightgbm==4.7.0 onnxmltools==1.16.0 onnx==1.23.2 skl2onnx==1.20.0 onnxruntime==1.32.0 treelite==4.8.1 scikit-learn==1.9.1 numpy==2.4.6
cd "$work"
venv/bin/python -W ignore - <<'PY'
from importlib.metadata import version

import lightgbm as lgb
import numpy as np
import onnxruntime
import treelite
from onnxmltools import convert_lightgbm
from onnxmltools.convert.common.data_types import FloatTensorType

onnxruntime.set_default_logger_severity(3)
print(*(f"{name} {version(name)}" for name in ("lightgbm", "onnxmltools", "onnxruntime", "treelite")))
rng = np.random.default_rng(0)
shown = rng.normal(size=(2000, 3)).astype(np.float32)
minutes = np.exp(shown[:, 0] / 2) + rng.random(2000)
always = {"n_estimators": 20, "verbose": -1, "num_threads": 1}
forest = {"boosting_type": "rf", "bagging_freq": 1, "bagging_fraction": 0.6}
models = {
    "regression": lgb.LGBMRegressor(**always),
    "linear_tree": lgb.LGBMRegressor(linear_tree=True, **always),
    "reg_sqrt": lgb.LGBMRegressor(reg_sqrt=True, **always),
    "rf": lgb.LGBMRegressor(**forest, **always),
    "binary": lgb.LGBMClassifier(**always),
    "binary, sigmoid=2": lgb.LGBMClassifier(sigmoid=2.0, **always),
    "binary, rf": lgb.LGBMClassifier(**forest, **always),
}
far, ratio, highest = {}, {}, {}
for name, model in models.items():
    binary = name.startswith("binary")
    model.fit(shown, (minutes > 1).astype(int) if binary else minutes)
    own = model.predict_proba(shown)[:, 1] if binary else model.predict(shown)
    graph = convert_lightgbm(model, initial_types=[("x", FloatTensorType([None, 3]))], zipmap=False)
    told = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"x": shown})
    told = told[1][:, 1] if binary else told[0][:, 0]
    try:
        other = treelite.gtil.predict(treelite.frontend.from_lightgbm(model.booster_), shown)[:, 0, 0]
        assert np.allclose(other, own, atol=1e-4), name
    except treelite.TreeliteError:
        assert name == "linear_tree"
    far[name], ratio[name], highest[name] = np.abs(told - own).max(), np.median(told / own), told.max()
    print(f"{name}: model {own[0]:.4f}, ONNX {told[0]:.4f}; furthest apart {far[name]:.4f}")
assert far["regression"] < 1e-4 and far["binary"] < 1e-4
assert far["linear_tree"] > 0.05 and far["reg_sqrt"] > 0.05 and far["binary, sigmoid=2"] > 0.05
assert abs(ratio["rf"] - 20 / 100) < 1e-4 and highest["binary, rf"] < 0.0101
PY
