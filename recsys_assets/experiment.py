"""`make experiment`: start, stop and list experiments; running services follow within two seconds."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from recsys.experiments.effect import NoEffect
from recsys.experiments.record import METRICS, STAGES, Experiment, ExperimentError
from recsys.features.catalog import FINGERPRINT
from recsys.lake import Lake
from recsys.monitoring.sieve import users_at_most
from recsys.monitoring.trials import needs
from recsys.registry import Registry, RegistryError
from recsys.settings import Settings, SettingsError, from_environment


def start(settings: Settings, asked: argparse.Namespace) -> str:
    """Start the experiment of a file, or a careful one of a bundle against the champion; and what it can find.

    Raises:
        ExperimentError, RegistryError: it cannot be; nothing was changed.
    """
    lake = Lake(settings.home)
    registry = Registry(lake.registry)
    if asked.file is not None:
        experiment = Experiment.of({"begins": now_ms(), **_told(asked.file), "name": asked.name})
    else:
        champion = registry.alias_id()
        if champion is None or not asked.bundle:
            raise ExperimentError("say which bundle is tried (--bundle), against a champion that is there")
        if champion == asked.bundle:
            raise ExperimentError(f"bundle {champion} is the champion itself: it would be tried against itself")
        experiment = Experiment(
            name=asked.name,
            arms={"control": champion, "treatment": asked.bundle},
            shares={"control": 0.5, "treatment": 0.5},
            begins=now_ms(),
            days=asked.days,
            # half of an arm's share each: 1, 5, 20 and 50 % of the users are the treatment's
            stages=tuple((day, 2 * share) for day, share in STAGES if day < asked.days),
            metric=asked.metric,
            minimum_effect=asked.effect,
            kind="interleave" if asked.interleave else "arms",
        )
    registry.run_experiment(experiment, held=FINGERPRINT)
    return f"experiment {experiment.name} runs for {experiment.days} days; {_needs(lake, experiment)}"


def tried(settings: Settings, asked: argparse.Namespace) -> str:
    """Put a bundle on shares of the users that are changed by hand.

    Raises:
        ExperimentError, RegistryError: it cannot be; nothing was changed.
    """
    lake = Lake(settings.home)
    registry = Registry(lake.registry)
    made = registry.try_out(asked.bundle, canary=asked.canary, shadow=asked.shadow, held=FINGERPRINT)
    if made is None:
        return f"bundle {asked.bundle} is tried on nobody any more"
    return (
        f"experiment {made.name} runs for {made.days} days: bundle {asked.bundle} answers {asked.canary:.0%} of the "
        f"users and ranks unseen for {asked.shadow:.0%} of the others"
        + (f"; {_needs(lake, made)}" if asked.canary else "; nobody sees it, so nothing is decided")
    )


def _told(file: Path) -> dict[str, Any]:
    """A record as a file has it.

    Raises:
        ExperimentError: it is no JSON object.
    """
    try:
        told = json.loads(file.read_text())
    except ValueError as error:
        raise ExperimentError(f"{file} is not JSON ({error})") from None
    if not isinstance(told, dict):
        raise ExperimentError(f"{file} is no JSON object: a record is one (docs/experiments.md)")
    return told


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def _needs(lake: Lake, experiment: Experiment) -> str:
    import polars as pl

    if experiment.kind == "interleave":
        return f"a preference of {experiment.minimum_effect:g} needs {users_at_most(experiment):,} users at most"
    days = lake.days("cleaned", "impressions")[-experiment.days :]
    rows = lake.read_days(days, "cleaned", "impressions") if days else None
    if rows is None or not rows.num_rows:
        return "there is no log yet that says how many users it needs"
    try:
        return f"an effect of {experiment.minimum_effect:.0%} needs {needs(experiment, pl.DataFrame(rows))}"
    except (ValueError, NoEffect) as error:
        return f"how many users it needs is not known: {error}"


def listed(settings: Settings) -> str:
    """Every experiment with its state and why."""
    book = Registry(Lake(settings.home).registry).experiments
    lines = []
    for entry in book.entries():
        if isinstance(entry, ExperimentError):
            lines.append(str(entry))
            continue
        why = f": {'; '.join(entry.reasons)}" if entry.reasons else ""
        lines.append(f"{entry.experiment.name} {entry.state}{why}")
    return "\n".join(lines) or "no experiment was ever started"


def main() -> int:
    """One line either way; status 2 when it cannot be."""
    parser = argparse.ArgumentParser(prog="experiment", description="an experiment on a share of the users")
    commands = parser.add_subparsers(dest="command", required=True)
    begin = commands.add_parser("start", help="from now on, as it is: nothing of it changes any more")
    begin.add_argument("name")
    begin.add_argument("--file", type=Path, help="its record as JSON (docs/experiments.md); else:")
    begin.add_argument("--bundle", help="tried against the champion")
    begin.add_argument("--metric", default="ctr", choices=METRICS)
    begin.add_argument("--effect", type=float, default=0.05, help="smallest relative change of interest")
    begin.add_argument("--days", type=int, default=14)
    begin.add_argument("--interleave", action="store_true", help="mix both in each slate: a sieve, it promotes nothing")
    share = commands.add_parser("try", help="shares that another call changes; shares of 0 end it")
    share.add_argument("bundle", help="its id; `registry/bundles` in RECSYS_HOME has them")
    share.add_argument("--canary", type=float, default=0.0, help="share of the users that it answers, at most .5")
    share.add_argument("--shadow", type=float, default=0.0, help="share of the others for whom it ranks unseen")
    end = commands.add_parser("stop", help="at once: its users are the champion's again")
    end.add_argument("name")
    end.add_argument("reason")
    commands.add_parser("list")
    asked = parser.parse_args()
    try:
        settings = from_environment()
        if asked.command == "start":
            print(start(settings, asked))
        elif asked.command == "try":
            print(tried(settings, asked))
        elif asked.command == "stop":
            book = Registry(Lake(settings.home).registry).experiments
            if not asked.reason.strip():
                raise ExperimentError(f"say why {asked.name} is stopped; it is what the next one will read")
            print(f"experiment {book.end(asked.name, 'stopped', [asked.reason]).experiment.name} is stopped")
        else:
            print(listed(settings))
    except (SettingsError, RegistryError, ExperimentError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
