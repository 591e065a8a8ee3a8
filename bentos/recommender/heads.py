"""A bound on the head of an HTTP request: uvicorn's protocol over httptools has none.

Without one a single caller could hold a worker's event loop. What is no HTTP is refused here too, in the shape of
every other error.
"""

from __future__ import annotations

import json
import uuid
from typing import Final

import uvicorn.config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

HEAD_BYTES: Final = 64 << 10  # path and headers; proxies in common use allow 8 to 64 kB


class HeadTooLarge(ValueError):
    """Raised to httptools, which stops reading."""


class BoundedHeads(HttpToolsProtocol):
    """One connection, whose requests have heads of at most HEAD_BYTES."""

    _in_head = True
    _pieces = 0  # bytes of an unfinished head, but for its first piece
    _size = 0  # bytes of the path and of all whole headers
    _too_large = False

    def data_received(self, data: bytes) -> None:
        was_in_head = self._in_head
        if was_in_head and self._pieces > HEAD_BYTES:
            return  # refused, and not closed yet
        super().data_received(data)
        if was_in_head and self._in_head:
            self._pieces += len(data)
            if self._pieces > HEAD_BYTES and not self._too_large:
                self._too_large = True
                self.send_400_response("")

    def on_message_begin(self) -> None:
        self._in_head, self._pieces, self._size = True, 0, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > HEAD_BYTES:
            self._too_large, self._pieces = True, HEAD_BYTES + 1
            raise HeadTooLarge

    def send_400_response(self, msg: str) -> None:
        """What uvicorn calls when httptools cannot go on; the connection ends with the answer."""
        status, code, words = 400, "invalid_http", "this is no HTTP/1.1 request"
        if self._too_large:
            status, code, words = 431, "head_too_large", f"path and headers may have {HEAD_BYTES:,} bytes"
        error = {"code": code, "message": words, "request_id": uuid.uuid4().hex}
        body = json.dumps({"error": error}).encode()
        head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        self.transport.write(STATUS_LINE[status] + head.encode() + body)
        self.transport.close()


def bound_heads() -> None:
    """For every server of uvicorn (0.54) in this process: BentoML names no protocol, so the choice is uvicorn's own."""
    uvicorn.config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{BoundedHeads.__name__}"
