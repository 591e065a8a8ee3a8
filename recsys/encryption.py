"""Encryption at rest: what the journal, the served log and backups keep is encrypted with AES-GCM.

RECSYS_ENCRYPTION_KEYS names a file of keys (keyfile.py): the newest encrypts, all of them decrypt. It is read again
when it changes, so a key is added without a restart.

A value is encrypted by XAES-256-GCM (C2SP): AES-256-GCM under a key of its own for each 96-bit prefix of the nonce.
A process draws a prefix by chance and counts up behind it: no nonce comes twice, in whatever number of processes,
copies of a home or restored backups. Plain AES-GCM with random nonces is good for 2^32 values: a day of a large log.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from recsys import keyfile
from recsys.settings import from_environment

MARK: Final = b"\xe1"  # an encrypted value's first byte; no JSON and no record of the journal begins with it
TAG: Final = 4  # bytes that tell by which key: of its SHA-256
PREFIX: Final = 12
NONCE_HALF: Final = 12
OVERHEAD: Final = len(MARK) + TAG + PREFIX + NONCE_HALF + 16
_ENCRYPTED_PARQUET: Final = b"PARE"


LOOK_SECONDS: Final = 1.0  # after which the file of keys is looked at again: a look takes 5 us, a value 2
_looked: tuple[str | None, float, Keyring | None] = None, 0.0, None


class EncryptionError(RuntimeError):
    """Something cannot be opened: its key is not there, or it was altered. The message says which and what to do."""


class Keyring:
    """Keys of 32 bytes, newest last."""

    def __init__(self, keys: list[bytes]) -> None:
        self._keys = {hashlib.sha256(key).digest()[:TAG]: key for key in keys}
        self._newest = hashlib.sha256(keys[-1]).digest()[:TAG]
        self._begin()
        os.register_at_fork(after_in_child=self._begin)  # or a child would count on behind its parent's prefix

    def encrypt(self, value: bytes, about: bytes) -> bytes:
        """The value, encrypted with the newest key; it is read only with the same `about`."""
        cipher, head, number = self._encrypting
        nonce = next(number).to_bytes(NONCE_HALF, "big")
        return b"".join((head, nonce, cipher.encrypt(nonce, value, about)))

    def decrypt(self, value: bytes, about: bytes) -> bytes:
        """What was encrypted.

        Raises:
            EncryptionError: the key is not there, or the value or what it is about was altered.
        """
        value, begin = bytes(value), len(MARK) + TAG + PREFIX
        if value[:1] != MARK:
            raise EncryptionError(_altered(about))
        cipher = self._cipher(value[len(MARK) : begin])
        try:
            return cipher.decrypt(value[begin : begin + NONCE_HALF], value[begin + NONCE_HALF :], about)
        except (InvalidTag, ValueError):
            raise EncryptionError(_altered(about)) from None

    def is_newest(self, value: bytes) -> bool:
        """Whether a value is encrypted with the newest key."""
        return value[: len(MARK) + TAG] == MARK + self._newest

    def name(self, text: str) -> str:
        """A name for something that this text tells: without the key nobody can tell whether it is of a known text."""
        return hashlib.blake2b(text.encode(), key=self._keys[self._newest], digest_size=32).hexdigest()

    def _begin(self) -> None:
        head = self._newest + secrets.token_bytes(PREFIX)
        self._ciphers: dict[bytes, AESGCM] = {}
        self._encrypting = self._cipher(head), MARK + head, itertools.count()

    def _cipher(self, head: bytes) -> AESGCM:
        """Of a key's tag and a prefix."""
        cipher = self._ciphers.get(head)
        if cipher is None:
            key = self._keys.get(head[:TAG])
            if key is None:
                raise EncryptionError(
                    f"encrypted with key {head[:TAG].hex()}, which RECSYS_ENCRYPTION_KEYS does not hold: add its line"
                )
            if len(self._ciphers) > 10_000:
                self._ciphers.clear()
            cipher = self._ciphers[head] = AESGCM(_derived(key, head[TAG:]))
        return cipher


def _derived(key: bytes, prefix: bytes) -> bytes:
    """The key of a prefix: two blocks of CMAC in counter mode (https://c2sp.org/XAES-256-GCM)."""
    aes = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    zero = int.from_bytes(aes.update(bytes(16)), "big")
    one = (zero << 1) & ((1 << 128) - 1) ^ (0x87 if zero >> 127 else 0)
    blocks = (int.from_bytes(bytes((0, number, ord("X"), 0)) + prefix, "big") ^ one for number in (1, 2))
    return b"".join(aes.update(block.to_bytes(16, "big")) for block in blocks)


def keyring() -> Keyring | None:
    """The keys of this process's settings, as they were LOOK_SECONDS ago at most; None where nothing is encrypted."""
    global _looked
    named = os.environ.get("RECSYS_ENCRYPTION_KEYS")
    before, until, keys = _looked
    if before != named or time.monotonic() > until:
        path = _path(named, os.environ.get("RECSYS_CONFIG"), os.environ.get("RECSYS_SECRETS"))
        keys = None if path is None else _read(path, path.stat().st_mtime_ns if path.exists() else 0)
        _looked = named, time.monotonic() + LOOK_SECONDS, keys
    return keys


@functools.lru_cache(maxsize=8)
def _path(*told: str | None) -> Path | None:
    return from_environment().encryption_keys if any(told) else None


@functools.lru_cache(maxsize=8)
def _read(path: Path, stamp: int) -> Keyring:
    try:
        return Keyring(list(keyfile.read(path).values()))
    except ValueError as error:
        raise EncryptionError(f"RECSYS_ENCRYPTION_KEYS={path}: {error}") from None


def decrypted(value: bytes, about: bytes) -> bytes:
    """`Keyring.decrypt` with the keys of this process.

    Raises:
        EncryptionError: also where there is no key at all.
    """
    return _required().decrypt(value, about)


def encrypted(value: bytes, about: bytes) -> bytes:
    """`Keyring.encrypt` with the keys of this process; the value as it is where there are none."""
    keys = keyring()
    return value if keys is None else keys.encrypt(value, about)


@dataclass(frozen=True)
class Kept:
    """Values of one kind, each under its key; some may be from before there was anything to encrypt with."""

    name: bytes
    is_plain: Callable[[bytes], bool]  # whether one is such

    def encrypted(self, key: bytes, value: bytes) -> bytes:
        """As it is kept, where it is read at its own key only."""
        return encrypted(value, self._about(key))

    def encryptor(self) -> Callable[[bytes, bytes], bytes]:
        """`encrypted` with the keys of this moment: of a batch, whose values would each look for them, .5 us."""
        keys = keyring()
        return (lambda key, value: value) if keys is None else lambda key, value: keys.encrypt(value, self._about(key))

    def decrypted(self, key: bytes, value: bytes) -> bytes:
        """As it was before it was kept."""
        return value if self.is_plain(value) else decrypted(value, self._about(key))

    def renewer(self) -> Callable[[bytes, bytes], bytes]:
        """What gives a value as it is kept with the newest key of this moment (`encryptor`)."""
        keys, encrypted = keyring(), self.encryptor()
        if keys is None:
            return encrypted
        return lambda key, value: value if keys.is_newest(value) else encrypted(key, self.decrypted(key, value))

    def _about(self, key: bytes) -> bytes:
        return self.name + b" " + bytes(key)


def _altered(about: bytes) -> str:
    return f"an encrypted value was altered ({about!r:.80}): restore it from a backup"


def _required() -> Keyring:
    keys = keyring()
    if keys is None:
        raise EncryptionError("it is encrypted: set RECSYS_ENCRYPTION_KEYS to the file of its keys")
    return keys


def encrypted_size(size: int, chunk: int) -> int:
    """Bytes of a file that is encrypted chunk by chunk."""
    return size + OVERHEAD * max(1, -(-size // chunk))


def parquet_file(path: Path, name: str = "") -> pq.ParquetFile:
    """A Parquet file, encrypted or not.

    Args:
        name: the name under which it was written; "": that of the path, without its suffix

    Raises:
        EncryptionError: its key is not there, or it was altered.
    """
    if not is_encrypted_parquet(path):
        return pq.ParquetFile(path)
    from pyarrow.parquet import encryption as parquet

    factory = parquet.CryptoFactory(lambda _: _client(name or path.stem))
    try:
        return pq.ParquetFile(
            path, decryption_properties=factory.file_decryption_properties(parquet.KmsConnectionConfig())
        )
    except (OSError, ValueError, pa.ArrowException) as error:
        _required()
        raise EncryptionError(f"{path.name} does not open: {' '.join(str(error).split())[-160:]}") from None


def parquet_properties(name: str) -> Any:
    """`encryption_properties` of a `pq.ParquetWriter` for a file of that name; None where nothing is encrypted."""
    if keyring() is None:
        return None
    from pyarrow.parquet import encryption as parquet

    factory = parquet.CryptoFactory(lambda _: _client(name))
    how = parquet.EncryptionConfiguration(
        footer_key="newest", uniform_encryption=True, double_wrapping=False, data_key_length_bits=256
    )
    return factory.file_encryption_properties(parquet.KmsConnectionConfig(), how)


def is_encrypted_parquet(path: Path) -> bool:
    """Whether a Parquet file is encrypted."""
    with path.open("rb") as file:
        return file.read(4) == _ENCRYPTED_PARQUET


def _client(name: str) -> Any:
    """Wraps a file's own keys with ours, about that file's name."""
    from pyarrow.parquet import encryption as parquet

    about = f"parquet {name}".encode()

    class Client(parquet.KmsClient):
        def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
            return _required().encrypt(key_bytes, about).hex()

        def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
            return _required().decrypt(bytes.fromhex(wrapped_key), about)

    return Client()
