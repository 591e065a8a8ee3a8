"""What can go wrong with a stream; apart from the client of Kafka, which a service without one does not load."""

from __future__ import annotations


class StreamError(RuntimeError):
    """The stream cannot begin or go on; the message says what to do."""
