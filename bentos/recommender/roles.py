"""What a key may do: `RECSYS_API_KEYS=events:KEY,inspect:KEY,admin:KEY`; a key without a role is an admin's."""

from __future__ import annotations

from typing import Final

ADMIN: Final = "admin"
NEEDED: Final = {  # path, and method of gRPC -> role
    "/recommend": "recommend",
    "/recommend/batch": "recommend",
    "/features": "recommend",
    "/events": "events",
    "/items": "events",
    "/block": "events",
    "/blocks": "recommend",
    "/inspect": "inspect",
    "/find": "inspect",
    "/item": "inspect",
    "/diff": "inspect",
    "/rooms": "inspect",
    "/reports": "inspect",
    "/metrics": "admin",
}
LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class Forbidden(RuntimeError):
    """The caller is known, and may not do this."""


def require(role: str | None, path: str, peer: str) -> None:
    """Let a call pass.

    Args:
        role: of the caller's key; None where the service asks for no keys
        peer: the caller's address; "" where a proxy calls for somebody else

    Raises:
        Forbidden: its key has another role, or without keys it calls from another machine.
    """
    needed = NEEDED.get(path, ADMIN)
    if role is None:
        if needed == "inspect" and peer not in LOOPBACK:
            raise Forbidden(
                "without keys only this machine may look into people's data: set RECSYS_API_KEYS=inspect:KEY,..."
            )
    elif role not in (ADMIN, needed):
        raise Forbidden(f"this key is for {role}, and this call needs one for {needed} or admin")
