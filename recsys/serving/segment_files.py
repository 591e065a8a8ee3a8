"""Segments of the served log as files: frames with length and checksum, or Parquet; encrypted where there are keys."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq

from recsys.encryption import EncryptionError, decrypted, encrypted, parquet_file

MAGIC: Final = b"recsys-served-1\n"
ENCRYPTED: Final = b"recsys-served-e\n"  # of a segment whose payloads are encrypted, each about its segment and place
FRAME: Final = struct.Struct("<II")  # payload bytes, crc32 of the payload


class ServedLogError(RuntimeError):
    """A segment is not one of ours."""


def parquet(path: Path) -> pq.ParquetFile:
    """A sealed segment.

    Raises:
        ServedLogError: its key is not there, or it was altered.
    """
    try:
        return parquet_file(path)
    except EncryptionError as error:
        raise ServedLogError(f"segment {path.name} of the served log: {error}") from None


def row_group(file: pq.ParquetFile, path: Path, number: int, columns: Sequence[str] | None = None) -> pa.Table:
    """Rows of a sealed segment.

    Raises:
        ServedLogError: they were altered.
    """
    try:
        return file.read_row_group(number, columns=columns)
    except (OSError, pa.ArrowInvalid) as error:
        told = " ".join(str(error).split())
        raise ServedLogError(f"segment {path.name} of the served log was altered or is torn: {told:.160}") from None


def opened(path: Path) -> BinaryIO:
    """A segment that is written to, read from its first frame on.

    Raises:
        ServedLogError: it is none.
    """
    file = path.open("rb")
    first = file.read(len(MAGIC))
    if first != ENCRYPTED and not MAGIC.startswith(first):  # a shorter one was killed before its first frame
        file.close()
        raise ServedLogError(f"{path.name} is not a segment of the served log")
    return file


def is_encrypted(file: BinaryIO) -> bool:
    """Whether the payloads of an open segment are."""
    return os.pread(file.fileno(), len(MAGIC), 0) == ENCRYPTED


def _about(path: Path, at: int) -> bytes:
    return f"served {path.stem} {at}".encode()


def framed(payload: bytes, path: Path, at: int, with_keys: bool) -> bytes:
    """The frame of a payload at its place in a segment."""
    kept = encrypted(payload, _about(path, at)) if with_keys else payload
    return FRAME.pack(len(kept), zlib.crc32(kept)) + kept


def frames(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Place and payload of the frames from here on, up to the first torn or damaged one; after it nothing is sure.

    Raises:
        ServedLogError: of an encrypted segment, where one is whole and was altered.
    """
    has_keys, path = is_encrypted(file), Path(file.name)
    while len(head := file.read(FRAME.size)) == FRAME.size:
        length, checksum = FRAME.unpack(head)
        payload = file.read(length)
        at = file.tell() - length - FRAME.size
        if len(payload) != length or (zlib.crc32(payload) != checksum and not has_keys):
            return
        try:
            payload = decrypted(payload, _about(path, at)) if has_keys else payload
        except EncryptionError as error:
            raise ServedLogError(f"segment {path.name} of the served log: {error}") from None
        yield at, payload
