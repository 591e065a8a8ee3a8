"""The page at `/`: what this is and how to ask it, nothing loaded from elsewhere."""

from __future__ import annotations

from typing import Final

PAGE: Final = b"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Recommender</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:3rem auto;padding:0 1rem}
pre{background:#f4f4f4;padding:1rem;overflow:auto}code{font-size:.9em}</style></head><body>
<h1>Recommender</h1>
<p>Slates, events and features over HTTP and gRPC (<code>recsys.v1.Recommender</code>).</p>
<pre>curl -s localhost:3000/recommend -H 'Content-Type: application/json' -d '{"user_id": "1", "k": 5}'

curl -s localhost:3000/events -H 'Content-Type: application/json' \\
     -d '{"events": [{"event_id": "e1", "kind": "click", "user_id": "1", "item_id": "2"}]}'

curl -s localhost:3000/features -H 'Content-Type: application/json' -d '{"user_id": "1", "item_ids": ["2"]}'</pre>
<p><a href="/openapi.json">openapi.json</a> &middot; <a href="/metrics">metrics</a> &middot;
<a href="/readyz">readyz</a> &middot; <a href="/livez">livez</a></p>
</body></html>
"""
