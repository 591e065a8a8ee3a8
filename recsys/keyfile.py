"""The file of encryption keys: `<id> <64 hex digits>` a line, newest last; empty lines and `#` are passed over."""

from __future__ import annotations

import re
import secrets
from pathlib import Path
from typing import Final

from recsys.lake import replacing

_LINE: Final = re.compile(r"(\S+)\s+([0-9a-fA-F]{64})")


def read(path: Path) -> dict[str, bytes]:
    """Keys of 32 bytes by their ids, newest last.

    Raises:
        ValueError: it cannot be read, holds no key, or a line that is none, which is named and not shown.
    """
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        raise ValueError("the file cannot be read; `make rotate NEW=<id>` makes one") from None
    keys: dict[str, bytes] = {}
    for number, line in enumerate(map(str.strip, lines), start=1):
        if not line or line.startswith("#"):
            continue
        parts = _LINE.fullmatch(line)
        if parts is None or parts[1] in keys:
            raise ValueError(f"line {number} is no key of a new name: write `<id> <64 hex digits>`")
        keys[parts[1]] = bytes.fromhex(parts[2])
    if not keys:
        raise ValueError("the file holds no key; `make rotate NEW=<id>` adds one")
    return keys


def add(path: Path, key_id: str) -> None:
    """Make a key by chance and put it last into the file, which its owner alone reads; makes the file if need be.

    Raises:
        ValueError: the id is not one word, or there already.
        OSError: the file cannot be written.
    """
    known = read(path) if path.exists() else {}
    if not re.fullmatch(r"[^\s#]+", key_id) or key_id in known:
        raise ValueError(f"{key_id!r:.60} is no new name of a key: give one word that the file does not hold")
    lines = path.read_text().rstrip("\n").splitlines() if known else []
    with replacing(path) as temporary:
        temporary.touch(0o600)
        temporary.write_text("\n".join([*lines, f"{key_id} {secrets.token_hex(32)}"]) + "\n")
