"""Whether ports are free, before anything is started on them."""

from __future__ import annotations

import errno
import ipaddress
import socket

from recsys.settings import SettingsError


class PortTaken(RuntimeError):
    """Something else listens on a port; the message says which setting moves ours."""


def address(host: str) -> str:
    """The IP address of a host name (BentoML binds addresses only).

    Raises:
        SettingsError: no name service knows it.
    """
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.gethostbyname(host)
    except OSError as error:
        raise SettingsError(f"RECSYS_HOST={host:.80}: {error.strerror}") from None


def require_free(host: str, port: int, setting: str) -> None:
    """Bind and let go again.

    Raises:
        PortTaken: another process listens there, or this one may not.
    """
    where = address(host)
    with socket.socket(socket.AF_INET6 if ":" in where else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of a server just ended do not count
        try:
            probe.bind((where, port))
        except PermissionError:
            raise PortTaken(f"port {port} needs more rights: set {setting} to one above 1023") from None
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                raise SettingsError(f"RECSYS_HOST={host:.80} is no address of this machine") from None
            raise PortTaken(f"port {port} is taken: set {setting} to another, or end what listens there") from None
