#!/usr/bin/env bash
# Expected: a television is none of mobile, tablet and PC in user-agents, as it is for the sets of Samsung and LG; an
# application on an Android telephone is mobile.
# Happens: Android without the word "Mobile" is a tablet, with it a telephone: Sony's sets, Fire TV, Chromecast and Shield
# are one or the other, the Xbox is a PC. A telephone's own player (Dalvik) is a tablet, and podcast applications are
# telephone and tablet at once. device-detector tells them apart.
# Matters: device is a feature, a slice of every report and what a screen's slate is cut for; the large screen's users
# are counted among those of small ones.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: user-agents==2.2.0 ua-parser==1.0.2 device-detector==6.5.1
cd "$work"
venv/bin/python - <<'PY'
import importlib.metadata
import logging

import user_agents
from device_detector import DeviceDetector

logging.disable(logging.CRITICAL)
print("user-agents", importlib.metadata.version("user-agents"), "device-detector", importlib.metadata.version("device-detector"))
BROWSER = "AppleWebKit/537.36 (KHTML, like Gecko)"
AGENTS = {
    "Samsung television": f"Mozilla/5.0 (SMART-TV; LINUX; Tizen 6.0) {BROWSER} 76.0.3809.146/6.0 TV Safari/537.36",
    "Sony television": f"Mozilla/5.0 (Linux; Android 10; BRAVIA 4K UR2) {BROWSER} Chrome/88.0.4324.152 Safari/537.36",
    "Fire TV": f"Mozilla/5.0 (Linux; Android 9; AFTMM; wv) {BROWSER} Version/4.0 Chrome/98.0.4758.101 Mobile Safari/537.36",
    "Chromecast": f"Mozilla/5.0 (Linux; Android 12; Chromecast) {BROWSER} Chrome/106.0.0.0 Safari/537.36",
    "Xbox": f"Mozilla/5.0 (Windows NT 10.0; Win64; x64; Xbox; Xbox One) {BROWSER} Chrome/98.0.4758.102 Safari/537.36 Edge/44.18363.8131",
    "telephone's player": "Dalvik/2.1.0 (Linux; U; Android 13; SM-G991B)",
    "podcast application": "Pocket Casts/7.50 (Android)",
}
said = {}
for name, text in AGENTS.items():
    agent = user_agents.parse(text)
    said[name] = [kind for kind in ("mobile", "tablet", "pc") if getattr(agent, f"is_{kind}")]
    print(f"{name:20} user-agents {said[name] or 'none'}, device-detector {DeviceDetector(text).parse().device_type()}")
assert said["Samsung television"] == []
assert said["Sony television"] == said["Chromecast"] == said["telephone's player"] == ["tablet"]
assert said["Fire TV"] == ["mobile"] and said["Xbox"] == ["pc"]
assert said["podcast application"] == ["mobile", "tablet"]
types = [DeviceDetector(AGENTS[name]).parse().device_type() for name in ("Sony television", "Fire TV", "Chromecast")]
assert types == ["tv"] * 3 and DeviceDetector(AGENTS["telephone's player"]).parse().device_type() == "smartphone"
PY
