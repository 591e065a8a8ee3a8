#!/usr/bin/env bash
# Expected: Vowpal Wabbit hashes the name of a feature, so two ids share a weight by chance alone, and text is text.
# Happens: a name of digits is not hashed but read as a number, to which the hash of the namespace is added. So 7 and
# 007 are one item, and so are any two ids that are 262,144 (2^18, the default size of the table) apart. `--hash all`
# hashes them.
# Vowpal Wabbit's own page on hashing says so in an aside.
# Matters: ids with leading zeros, and catalogues numbered in blocks, share weights by rule. Whoever counts on one
# collision in a quarter of a million gets one for every id.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: vowpalwabbit==9.11.9 numpy==2.4.6
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata

from vowpalwabbit import Workspace

print("vowpalwabbit", importlib.metadata.version("vowpalwabbit"))


def rates(options: str, liked: str, disliked: str, others: list[str]) -> dict[str, float]:
    model = Workspace(f"--quiet --noconstant {options}")
    for _ in range(100):
        model.learn(f"1 |item {liked}")
        model.learn(f"0 |item {disliked}")
    return {name: round(model.predict(f"|item {name}"), 2) for name in [liked, disliked, *others]}


others = ["7", "0007", "262151", "524295", "i7", "262152"]
told = rates("", "007", "8", others)
print("as it comes:", told)
assert told["007"] == told["7"] == told["0007"] == told["262151"] == told["524295"] == 1
assert told["8"] == told["262152"] == told["i7"] == 0
hashed = rates("--hash all", "007", "8", others)
print("--hash all:", hashed)
assert hashed["007"] == 1 and not any(hashed[name] for name in ["8", *others])
texts = rates("", "i007", "i8", ["i7", "i262151"])
print("with a letter before:", texts)
assert texts["i007"] == 1 and texts["i7"] == texts["i262151"] == 0
PY
