"""docs/settings.md, written from the model: `python -m recsys.settings_page`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from recsys.settings import Settings, is_secret, variable

HEAD: Final = """# Settings

Written from `recsys/settings.py` by `make docs`; a test fails while it is stale. Every setting is checked once, when a
command starts: what is wrong is one line and status 2. `make check` checks the settings before it looks at the source.
`python -m bentos.recommender.serve --check` opens store, bundle and index once and says whether the service can start.

A value is looked for in three places, and the first that has it wins:

1. the environment, under the name below;
2. a file of that name, in capitals or small letters, in the folder `RECSYS_SECRETS`: `recsys_api_keys`, as Docker and
   Kubernetes mount secrets. A blank line at its end is no part of it;
3. the TOML file `RECSYS_CONFIG`, under the name without `RECSYS_` in small letters: `http_port = 8080`.

A name that begins with `RECSYS_` and is not below is refused, so is an empty value. RECSYS_KUAIRAND,
RECSYS_OPEN_BANDIT and RECSYS_MOVIELENS alone are let through: tests and benchmarks look for public data sets there.
Secrets are marked. No message, log or answer shows one; of an address only scheme, host, port and path are shown.

API keys may be changed while the service runs: replace the file in `RECSYS_SECRETS`, and each worker takes it within
two seconds. A file that is no good changes nothing, and is told in the log. All else takes a restart.

| variable | takes | default | |
| --- | --- | --- | --- |
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(_row(name, field) for name, field in Settings.model_fields.items())


def _row(name: str, field: FieldInfo) -> str:
    default = "" if field.default in (None, "", ()) else f"`{field.default}`"
    words = f"{'secret; ' if is_secret(name) else ''}{field.description or ''}"
    return f"| `{variable(name)}` | {_takes(field)} | {default} | {words} |\n"


def _takes(field: FieldInfo) -> str:
    kinds = [kind for kind in get_args(field.annotation) if kind is not type(None)]
    kind: Any = field.annotation if get_origin(field.annotation) in (Literal, tuple) or not kinds else kinds[0]
    if get_origin(kind) is Literal:
        return ", ".join(f"`{word}`" for word in get_args(kind))
    bounds = {type(bound).__name__.lower(): bound for bound in field.metadata}
    least, most = (getattr(bounds[key], key, None) if key in bounds else None for key in ("ge", "le"))
    words = {int: "integer", float: "number", bool: "`true`, `false`", Path: "path"}.get(kind, "text")
    if least is not None and most is not None:
        return f"{words}, {least:,} to {most:,}"
    return f"{words}, from {least:,}" if least is not None else words


if __name__ == "__main__":
    (Path(__file__).parents[1] / "docs" / "settings.md").write_text(page())
