"""Bundle versions: immutable folders named by their content, aliases replaced in one step, history, rollback.

    registry/bundles/<bundle_id>/    query_tower/ sources/ ranker/ items.parquet manifest.json
    registry/aliases/champion.json   the champion: its bundle and the ones it named before
    registry/history.jsonl           every change of the champion, oldest first
    registry/experiments/            every experiment: its record, its state, how it was decided and why
    registry/secret                  by which exploring places are drawn, and drawn again

A bundle is everything that one answer is made of. Its id is the hash of its files and of the facts that decide what
they mean (fingerprints, collection, id type), so equal content has one id and a changed byte is noticed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from recsys.experiments.book import RUNNING, Book, Entry
from recsys.experiments.record import Experiment
from recsys.lake import append_line, content_hash, replacing, sync

CHAMPION: Final = "aliases/champion.json"
PARTS: Final = ("query_tower", "sources", "ranker", "items.parquet")
KEPT: Final = 50  # champions that are remembered to roll back to
ROLLBACKS: Final = 5  # former champions whose collections stay in the item index
TRIED_DAYS: Final = 14  # of `make try`: its last look is at their end
FORMAT: Final = 1


class RegistryError(RuntimeError):
    """A bundle is missing, incomplete, altered or does not fit; the message says which and what to do."""


@dataclass(frozen=True)
class Facts:
    """What decides the meaning of a bundle's files; part of its id."""

    features: str  # fingerprint of the feature catalogue the service must hold
    ranker_features: str  # fingerprint the ranker was trained on: must equal `features`
    tower: str  # fingerprint of the query tower
    index_tower: str  # fingerprint of the tower that embedded the items: must equal `tower`
    collection: str  # the Milvus collection that holds those embeddings, by its own name
    utc_offset_ms: int  # local day of the source


@dataclass(frozen=True)
class Bundle:
    """One registered bundle, as its manifest says."""

    bundle_id: str
    path: Path
    facts: Facts
    files: Mapping[str, str]  # relative path -> sha256
    created_at: int  # UTC ms
    metrics: Mapping[str, Any] = field(default_factory=dict)
    lineage: Mapping[str, Any] = field(default_factory=dict)


class Registry:
    """The bundles, the champion and experiments below one folder; several processes may hold it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.experiments = Book(root / "experiments")

    # -- bundles ------------------------------------------------------------------------------------------------------

    def register(
        self, folder: Path, facts: Facts, *, metrics: Mapping[str, Any] = {}, lineage: Mapping[str, Any] = {}
    ) -> Bundle:
        """Copy `folder` into the registry as an immutable bundle; the same content again is the bundle already there.

        Raises:
            RegistryError: when a part is missing or the facts do not fit each other.
        """
        _require_parts(folder)
        _require_fit(facts)
        files = _hashes(folder)
        bundle_id = _content_id(files, facts)
        target = self._path(bundle_id)
        if target.exists():
            return self.get(bundle_id)
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = target.with_name(f".{bundle_id}.{os.getpid()}.tmp")
        shutil.rmtree(staging, ignore_errors=True)
        try:
            shutil.copytree(folder, staging)
            manifest = {
                "schema": FORMAT,
                "bundle_id": bundle_id,
                "created_at": time.time_ns() // 1_000_000,
                "facts": asdict(facts),
                "files": files,
                "metrics": dict(metrics),
                "lineage": dict(lineage),
            }
            (staging / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True))
            for path in staging.rglob("*"):
                if path.is_file():
                    path.chmod(0o444)
                    sync(path)
            try:
                os.rename(staging, target)
            except OSError:
                if not target.exists():  # another process registered the same content first: that one stands
                    raise
            sync(target.parent)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        return self.get(bundle_id)

    def get(self, bundle_id: str) -> Bundle:
        """A registered bundle's manifest; its files are not read (see `verify`)."""
        path = self._path(bundle_id)
        try:
            manifest = json.loads((path / "manifest.json").read_text())
            if set(manifest["facts"]) != {fact.name for fact in fields(Facts)}:
                raise RegistryError(
                    f"bundle {bundle_id} is of another version of this project: "
                    "run `make run` again in a new RECSYS_HOME"
                )
            return Bundle(
                bundle_id=manifest["bundle_id"],
                path=path,
                facts=Facts(**manifest["facts"]),
                files=manifest["files"],
                created_at=manifest["created_at"],
                metrics=manifest["metrics"],
                lineage=manifest["lineage"],
            )
        except FileNotFoundError:
            raise RegistryError(f"no bundle {bundle_id} in the registry: {self._known()}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise RegistryError(
                f"the manifest of bundle {bundle_id} is not readable ({error}): register it again"
            ) from None

    def bundles(self) -> list[Bundle]:
        """Every registered bundle, oldest first."""
        names = sorted(p.name for p in self.root.glob("bundles/[!.]*") if p.is_dir())
        return sorted((self.get(name) for name in names), key=lambda b: (b.created_at, b.bundle_id))

    def verify(self, bundle: Bundle, held: str | None = None) -> None:
        """Read every byte of a bundle and hold it against its manifest and its id.

        Args:
            held: fingerprint of the features the online store holds; None leaves that unchecked.

        Raises:
            RegistryError: for a part that is missing, a byte that changed, or fingerprints that do not fit.
        """
        _require_parts(bundle.path)
        _require_fit(bundle.facts)
        hashes = _hashes(bundle.path)
        for name in sorted(bundle.files.keys() | hashes.keys()):
            if name not in hashes:
                raise RegistryError(f"bundle {bundle.bundle_id} is incomplete: {name} is missing; register it again")
            if hashes[name] != bundle.files.get(name):
                raise RegistryError(f"bundle {bundle.bundle_id} was altered: {name} is not what was registered")
        if _content_id(hashes, bundle.facts) != bundle.bundle_id or bundle.path.name != bundle.bundle_id:
            raise RegistryError(f"bundle {bundle.bundle_id} was altered: its manifest is not what was registered")
        if held is not None and held != bundle.facts.features:
            raise RegistryError(
                f"bundle {bundle.bundle_id} needs features {bundle.facts.features}, but the online store holds {held}: "
                "materialize online_state, or the bundle, with the same feature catalogue"
            )

    # -- the champion -------------------------------------------------------------------------------------------------

    def promote(self, bundle_id: str, *, held: str | None = None, reason: str = "") -> Bundle:
        """Make a verified bundle the champion. A refused promotion changes nothing."""
        bundle = self.get(bundle_id)
        self.verify(bundle, held)
        with self._writing():
            now = self._champion()
            if now["bundle_id"] != bundle_id:
                before = [*now["before"], now["bundle_id"]] if now["bundle_id"] else now["before"]
                self._point(bundle_id, before[-KEPT:], "promote", reason)
        return bundle

    def rollback(self, *, held: str | None = None, reason: str = "") -> Bundle:
        """Make the bundle that was champion before the champion again; it is verified first.

        Raises:
            RegistryError: when there is nothing to go back to, or it is damaged or does not fit; nothing was changed.
        """
        with self._writing():
            now = self._champion()
            if not now["before"]:
                raise RegistryError("there is no earlier champion to roll back to")
            bundle = self.get(now["before"][-1])
            self.verify(bundle, held)
            self._point(bundle.bundle_id, now["before"][:-1], "rollback", reason)
        return bundle

    def try_out(
        self, bundle_id: str, *, canary: float = 0.0, shadow: float = 0.0, held: str | None = None
    ) -> Experiment | None:
        """Put a bundle on shares of the users: an experiment whose arms have `canary` of them each, and whose shares a
        later call changes, without moving anybody back who stays in. Shares of 0 end it.

        Args:
            canary: share of the users whom it answers; as many more are the champion's, to compare
            shadow: share of the others for whom it ranks unseen

        Raises:
            RegistryError: shares that cannot be, or a bundle that must not serve; nothing was changed.
            ExperimentError: it meets another experiment; nothing was changed.
        """
        if not (0 <= canary <= 0.5 and 0 <= shadow <= 1):
            raise RegistryError(
                f"shares of {canary:g} and {shadow:g}: a canary is from 0 to .5 (as many more are the champion's), a "
                "shadow from 0 to 1; `make promote` gives it all"
            )
        salt, champion = f"try-{bundle_id}", self.alias_id()
        before = [entry for entry in self.experiments.entries() if isinstance(entry, Entry)]
        mine = [entry for entry in before if entry.experiment.salt == salt]
        running = [entry.experiment.name for entry in mine if entry.state == RUNNING]
        if not canary and not shadow:
            for name in running:
                self.experiments.end(name, "stopped", ["shares of 0"])
            return None
        if champion in (None, bundle_id):
            raise RegistryError(f"bundle {bundle_id} is tried against a champion: there is none, or it is that itself")
        made = Experiment(
            name=f"{salt}-{len(mine) + 1}",
            arms={"control": str(champion), "treatment": bundle_id},
            shares={"control": 0.5, "treatment": 0.5},
            begins=time.time_ns() // 1_000_000,
            days=TRIED_DAYS,
            stages=((0, 2 * canary),),
            salt=salt,
            unseen=shadow,
        )
        self.run_experiment(made, held=held, instead_of=running)
        return made

    def run_experiment(
        self,
        experiment: Experiment,
        *,
        held: str | None = None,
        instead_of: Collection[str] = (),
        now: int | None = None,
    ) -> None:
        """Start an experiment whose arms can serve, in place of others that it ends.

        Args:
            now: UTC ms, where the clock is not this machine's

        Raises:
            RegistryError: a bundle of it is not there or must not serve.
            ExperimentError: it began before now, or it meets another one.
        """
        experiment.require_ahead(time.time_ns() // 1_000_000 if now is None else now)
        for bundle_id in experiment.arms.values():
            self.verify(self.get(bundle_id), held)
        self.experiments.start(experiment, instead_of)

    def alias_id(self) -> str | None:
        """Id of the champion, None before the first promotion. One small read: cheap to poll."""
        return self._champion()["bundle_id"]

    def champion(self) -> Bundle | None:
        """The champion, None before the first promotion."""
        bundle_id = self.alias_id()
        return self.get(bundle_id) if bundle_id else None

    def in_use(self, rollbacks: int = ROLLBACKS) -> set[str]:
        """Ids of the bundles that serve or soon may: the champion, arms of experiments that run, and the `rollbacks`
        that were champion last.
        """
        before = self._champion()["before"]
        named = [self.alias_id()]
        named += [arm for experiment in self.experiments.running()[0] for arm in experiment.arms.values()]
        return {bundle_id for bundle_id in (*named, *before[max(0, len(before) - rollbacks) :]) if bundle_id}

    def secret(self) -> bytes:
        """What exploring draws are keyed by (policy/exploration.py), made at the first call: a replay needs the same.

        Raises:
            RegistryError: it is not what was written.
        """
        path = self.root / "secret"
        if not path.exists():
            with self._writing():
                if not path.exists():
                    with replacing(path) as temporary:
                        temporary.touch(0o600)
                        temporary.write_text(secrets.token_hex(32))
                        sync(temporary)
        try:
            made = bytes.fromhex(path.read_text())
        except ValueError:
            made = b""
        if len(made) != 32:
            raise RegistryError(f"{path} is not the secret that was made: restore it, or remove it and draw anew")
        return made

    def history(self) -> list[dict[str, Any]]:
        """Every change of the champion, oldest first: change, at, alias, action, bundle_id, from, reason."""
        try:
            lines = (self.root / "history.jsonl").read_text().splitlines()
        except FileNotFoundError:
            lines = []
        rows = {row["change"]: row for row in (json.loads(line) for line in lines if line.endswith("}"))}
        for row in self._last_changes():
            rows.setdefault(row["change"], row)
        return [rows[change] for change in sorted(rows)]

    # -- inside -------------------------------------------------------------------------------------------------------

    def _path(self, bundle_id: str) -> Path:
        if not bundle_id.isalnum():
            raise RegistryError(f"{bundle_id!r:.80} is not a bundle id")
        return self.root / "bundles" / bundle_id

    def _known(self) -> str:
        known = [p.name for p in self.root.glob("bundles/[!.]*")]
        return f"it holds {', '.join(sorted(known)[:5])}" if known else "it is empty; run `make run` first"

    def _champion(self) -> dict[str, Any]:
        try:
            state: dict[str, Any] = json.loads((self.root / CHAMPION).read_text())
            return state
        except FileNotFoundError:
            return {"bundle_id": None, "before": [], "last": None}
        except ValueError as error:
            raise RegistryError(f"{CHAMPION} is not readable ({error}): promote a bundle again") from None

    def _last_changes(self) -> list[dict[str, Any]]:
        last = self._champion()["last"]
        return [last] if last else []

    def _point(self, bundle_id: str, before: list[str], action: str, reason: str) -> None:
        """Replace the champion, then note it in the history. Between the two its own file carries the note."""
        change = {
            "change": 1 + max((row["change"] for row in self.history()), default=0),
            "at": time.time_ns() // 1_000_000,
            "alias": "champion",
            "action": action,
            "bundle_id": bundle_id,
            "from": self.alias_id(),
            "reason": reason,
        }
        path = self.root / CHAMPION
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"bundle_id": bundle_id, "before": before, "last": change}))
            sync(temporary)
        sync(path.parent)
        self._note(change)

    def _note(self, change: Mapping[str, Any]) -> None:
        append_line(self.root / "history.jsonl", change)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One writer at a time (the lock dies with its holder); a note a killed writer left out is written first."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            written = self._written()
            for change in sorted(self._last_changes(), key=lambda row: row["change"]):
                if change["change"] not in written:
                    self._note(change)
            yield

    def _written(self) -> set[int]:
        try:
            lines = (self.root / "history.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return set()
        return {json.loads(line)["change"] for line in lines if line.endswith("}")}


def _require_parts(folder: Path) -> None:
    for part in PARTS:
        path = folder / part
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            raise RegistryError(
                f"a bundle needs {part}, which {folder.name} lacks: materialize the asset that writes it"
            )


def _require_fit(facts: Facts) -> None:
    if facts.ranker_features != facts.features:
        raise RegistryError(
            f"the ranker was trained on features {facts.ranker_features}, the catalogue is {facts.features}: "
            "materialize training_set and ranker again"
        )
    if facts.index_tower != facts.tower:
        raise RegistryError(
            f"the item index was embedded by tower {facts.index_tower}, the query tower is {facts.tower}: "
            "materialize item_embeddings and item_index again"
        )


def _hashes(folder: Path) -> dict[str, str]:
    """sha256 of every file but the manifest, by its path relative to the folder."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / "manifest.json")
    return {p.relative_to(folder).as_posix(): content_hash(p) for p in paths}


def _content_id(files: Mapping[str, str], facts: Facts) -> str:
    content = json.dumps([sorted(files.items()), asdict(facts)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]
