"""Where backups lie: a folder or any address that fsspec opens (s3://, gs://, ... with the caller's own plugin).

    objects/<2 digits>/<name>      a part, named by its content: what is there already is not written again
    backups/<instant>-<digest>     a manifest, named by its own SHA-256 too; written last, so half a backup has none

Each is written under another name first and then moved: what bears its name is whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from recsys.addresses import SecretUrl
from recsys.encryption import OVERHEAD, EncryptionError, decrypted, encrypted, encrypted_size, keyring

FORMAT: Final = 1
CHUNK: Final = 1 << 22
_OBJECTS, _BACKUPS = "objects", "backups"


class BackupError(RuntimeError):
    """A backup cannot be taken, found or trusted; the message says which and what to do."""


@dataclass(frozen=True)
class Part:
    """One file of a backup."""

    object: str  # name of its object
    sha256: str  # of the file
    bytes: int
    mode: int = 0o600  # permissions
    is_encrypted: bool = False


@dataclass(frozen=True)
class Manifest:
    """What one backup holds, and of what."""

    name: str  # in the vault
    version: str  # of this project
    fingerprint: str  # of the features
    head: int  # the log's last position
    snapshot: str  # name of the store's snapshot
    pseudonyms: str | None  # the mark of the key by which users are known
    parts: Mapping[str, Part]  # by path below the home; `store/...` are the journal's


class Vault:
    """The backups of one home at one address.

    Raises:
        BackupError: the address cannot be opened; the message says what to install or to give.
    """

    def __init__(self, address: str) -> None:
        import fsspec

        named = SecretUrl(address)
        self.address = str(named) if "://" in address else address  # as messages name it: without a password
        try:
            self._files, self._root = fsspec.core.url_to_fs(address)
        except Exception as error:  # whatever the plugin of the address raises
            why = " ".join(named.hidden_in(str(error)).split()) or type(error).__name__
            raise BackupError(f"{self.address:.200} cannot be opened: {why:.300}") from None

    def lies_in(self, folder: Path) -> bool:
        """Whether this is a folder of this machine, below that one or the same."""
        is_here = self._files.protocol in ("file", ("file", "local"))
        return is_here and Path(self._root).resolve().is_relative_to(folder.resolve())

    def put(self, file: BinaryIO, size: int | None = None, mode: int = 0o600) -> tuple[Part, bool]:
        """Keep a file's bytes from its start on, `size` of them at most; the part, and whether it was new."""
        digest, rest = hashlib.sha256(), size
        while block := file.read(CHUNK if rest is None else min(CHUNK, rest)):
            digest.update(block)
            rest = None if rest is None else rest - len(block)
        sha256, size = digest.hexdigest(), file.tell()
        keys = keyring()
        name = sha256 if keys is None else keys.name(sha256)
        part = Part(name, sha256, size, mode, keys is not None)
        place = self._place(part)
        if self._size(place) == (size if keys is None else encrypted_size(size, CHUNK)):
            return part, False
        file.seek(0)
        with self._writing(place) as target:
            again = hashlib.sha256()
            for number in range(max(1, -(-size // CHUNK))):
                block = file.read(min(CHUNK, size - number * CHUNK))
                again.update(block)
                target.write(block if keys is None else keys.encrypt(block, _chunk(name, number, size)))
            if again.hexdigest() != sha256:
                raise FileNotFoundError(f"{file.name} changed while it was read")
        return part, True

    def get(self, path: str, part: Part, target: Path) -> None:
        """Write a part to a file.

        Raises:
            BackupError: it is not there, or not what was kept; the file is not whole then.
        """
        digest = hashlib.sha256()
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self._files.open(self._place(part), "rb") as source, target.open("wb") as file:
                for number in range(max(1, -(-part.bytes // CHUNK))):
                    block = source.read(CHUNK + OVERHEAD * part.is_encrypted)
                    if part.is_encrypted:
                        block = decrypted(block, _chunk(part.object, number, part.bytes))
                    digest.update(block)
                    file.write(block)
        except FileNotFoundError:
            raise BackupError(f"{path} is missing in {self.address}: restore another backup (AT=)") from None
        except EncryptionError as error:
            raise BackupError(f"{path} in {self.address}: {error}") from None
        target.chmod(part.mode)
        if digest.hexdigest() != part.sha256:
            raise BackupError(f"{path} in {self.address} is torn or was altered: restore another backup (AT=)")

    def keep(self, manifest: Mapping[str, Any], instant: str) -> str:
        """Write a manifest, which makes its parts a backup; its name."""
        text = json.dumps({"format": FORMAT, **manifest}, indent=1, sort_keys=True, default=asdict).encode()
        text = encrypted(text, b"manifest " + instant.encode())
        name = f"{instant}-{hashlib.sha256(text).hexdigest()[:16]}"
        with self._writing(f"{self._root}/{_BACKUPS}/{name}") as file:
            file.write(text)
        return name

    def names(self) -> list[str]:
        """Of every backup, oldest first."""
        self._files.invalidate_cache()
        try:
            listed = self._files.ls(f"{self._root}/{_BACKUPS}", detail=False)
        except FileNotFoundError:
            return []
        return sorted(name for name in (str(path).rsplit("/", 1)[-1] for path in listed) if not name.startswith("."))

    def manifest(self, at: str = "") -> Manifest:
        """The newest backup, or the newest whose name begins with `at`.

        Raises:
            BackupError: there is none, or its manifest is torn or of another format.
        """
        names = [name for name in self.names() if name.startswith(at)]
        if not names:
            known = ", ".join(self.names()[-5:]) or "none at all"
            raise BackupError(f"there is no backup {at or 'at'} {self.address}; there is {known}")
        text = self._files.cat_file(f"{self._root}/{_BACKUPS}/{names[-1]}")
        try:
            if hashlib.sha256(text).hexdigest()[:16] != names[-1].rsplit("-", 1)[-1]:
                raise ValueError
            about = b"manifest " + names[-1].rsplit("-", 1)[0].encode()
            told = json.loads(text if text[:1] == b"{" else decrypted(text, about))
            if told.pop("format") != FORMAT:
                raise BackupError(f"backup {names[-1]} is of another version of this project: restore it with that one")
            parts = {path: Part(**part) for path, part in told.pop("parts").items()}
            return Manifest(name=names[-1], parts=parts, **told)
        except EncryptionError as error:
            raise BackupError(f"the manifest of backup {names[-1]}: {error}") from None
        except (ValueError, KeyError, TypeError):
            raise BackupError(f"the manifest of backup {names[-1]} is torn: restore another one (AT=)") from None

    def prune(self, most: int) -> int:
        """Remove all backups but the newest, and the objects that none of these names; returns how many backups."""
        gone = self.names()[:-most]
        kept = {part.object for name in self.names()[-most:] for part in self.manifest(name).parts.values()}
        for name in gone:
            self._files.rm_file(f"{self._root}/{_BACKUPS}/{name}")
        for path in self._files.find(f"{self._root}/{_OBJECTS}"):
            if path.rsplit("/", 1)[-1] not in kept:
                self._files.rm_file(path)
        return len(gone)

    def _place(self, part: Part) -> str:
        return f"{self._root}/{_OBJECTS}/{part.object[:2]}/{part.object}"

    def _size(self, place: str) -> int | None:
        try:
            return int(self._files.size(place))
        except FileNotFoundError:
            return None

    def _writing(self, place: str) -> _Writing:
        return _Writing(self._files, place)


class _Writing:
    """A file that gets its name when its block ends well."""

    def __init__(self, files: Any, place: str) -> None:
        folder, name = place.rsplit("/", 1)
        self._files, self._place, self._beside = files, place, f"{folder}/.{name}.{uuid.uuid4().hex[:8]}"
        files.makedirs(folder, exist_ok=True)

    def __enter__(self) -> Any:
        self._file = self._files.open(self._beside, "wb")
        return self._file

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and hasattr(self._file, "fileno"):  # a local file: durable before it bears its name
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        if kind is None:
            self._files.mv(self._beside, self._place)
        else:
            self._files.rm_file(self._beside)


def _chunk(name: str, number: int, size: int) -> bytes:
    """What a chunk of a part is about: its part, its place, and how long the part is, so that none is cut off."""
    return f"part {name} {number} {size}".encode()
