#!/usr/bin/env bash
# Expected: a model that was trained with missing values takes NaN in its exported form to the leaf to which it takes it.
# Happens: two exports forget the way, without a word. skl2onnx sends NaN to the right at every node of scikit-learn's
# trees and forests, though ONNX can say which way it goes and treelite takes it over. CatBoost's own Python code has NaN
# for the smallest value also with `nan_mode=Max`; its ONNX is right. XGBoost and LightGBM come through whole.
# Matters: missing is the usual case for a new user or item. A comparison on rows without holes passes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: scikit-learn==1.9.1 skl2onnx==1.20.0 onnx==1.23.2 onnxmltools==1.16.0 onnxruntime==1.32.0 catboost==1.2.10 lightgbm==4.7.0 xgboost-cpu==3.2.0 treelite==4.8.1 numpy==2.4.6
cd "$work"
venv/bin/python -W ignore - <<'PY'
import runpy
from importlib.metadata import version

import catboost
import lightgbm as lgb
import numpy as np
import onnxruntime
import treelite
import xgboost as xgb
from onnxmltools import convert_lightgbm, convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestRegressor
from sklearn.tree import DecisionTreeRegressor

onnxruntime.set_default_logger_severity(3)
print(*(f"{name} {version(name)}" for name in ("scikit-learn", "skl2onnx", "catboost", "lightgbm", "xgboost-cpu", "onnxmltools", "treelite")))
rng = np.random.default_rng(0)
rows = rng.integers(-3, 4, (2000, 3)).astype(np.float32)
rows[rng.random(rows.shape) < 0.3] = np.nan
minutes = np.where(np.isnan(rows), 0.5, rows).sum(axis=1)
asked = {"full": np.array([[-2, 1, 3]], np.float32), "with NaN": np.array([[np.nan, 1, 3]], np.float32)}
typed = [("x", FloatTensorType([None, 3]))]


def onnx(graph):
    session = onnxruntime.InferenceSession(graph if isinstance(graph, bytes) else graph.SerializeToString())
    return lambda row: float(np.ravel(session.run(None, {session.get_inputs()[0].name: row})[0])[0])


def forest(model):
    return lambda row: float(treelite.gtil.predict(model, row).ravel()[0])


always = {"n_estimators": 20, "n_jobs": 1}
tree = DecisionTreeRegressor(max_depth=6, random_state=0).fit(rows, minutes)
trees = RandomForestRegressor(random_state=0, **always).fit(rows, minutes)
boosted = xgb.XGBRegressor(**always).fit(rows, minutes)
light = lgb.LGBMRegressor(verbose=-1, **always).fit(rows, minutes)
cat = catboost.CatBoostRegressor(iterations=20, nan_mode="Max", verbose=0, thread_count=1, allow_writing_files=False).fit(rows, minutes)
cat.save_model("cat.onnx", format="onnx")
cat.save_model("cat.py", format="python")
with open("cat.onnx", "rb") as file:
    cat_onnx = onnx(file.read())
cat_python = runpy.run_path("cat.py")["apply_catboost_model"]
exports = {
    "tree, skl2onnx": (tree, onnx(to_onnx(tree, rows[:1]))),
    "forest, skl2onnx": (trees, onnx(to_onnx(trees, rows[:1]))),
    "forest, treelite": (trees, forest(treelite.sklearn.import_model(trees))),
    "CatBoost Max, Python": (cat, lambda row: cat_python(row[0].tolist())),
    "CatBoost Max, ONNX": (cat, cat_onnx),
    "LightGBM, treelite": (light, forest(treelite.frontend.from_lightgbm(light.booster_))),
    "LightGBM, onnxmltools": (light, onnx(convert_lightgbm(light, initial_types=typed))),
    "XGBoost, treelite": (boosted, forest(treelite.frontend.from_xgboost(boosted.get_booster()))),
    "XGBoost, onnxmltools": (boosted, onnx(convert_xgboost(boosted, initial_types=typed))),
}
wrong = {}
for name, (model, exported) in exports.items():
    told = {case: (float(model.predict(row)[0]), exported(row)) for case, row in asked.items()}
    wrong[name] = [case for case, (own, other) in told.items() if abs(own - other) > 0.05]
    print(f"{name}:", ", ".join(f"{case} {own:.2f} and {other:.2f}" for case, (own, other) in told.items()))
assert wrong == {name: ["with NaN"] if name in ("tree, skl2onnx", "forest, skl2onnx", "CatBoost Max, Python") else [] for name in wrong}
PY
