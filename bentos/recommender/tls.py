"""TLS of both fronts from one certificate, checked before anything starts."""

from __future__ import annotations

import ssl

import grpc

from recsys.settings import Settings, SettingsError


def require_whole(settings: Settings) -> None:
    """Load what the settings name once.

    Raises:
        SettingsError: a file is missing, unreadable or does not fit the other.
    """
    if settings.tls_cert is None and settings.tls_key is None and settings.tls_client_ca is None:
        return
    if settings.tls_cert is None or settings.tls_key is None:
        raise SettingsError("TLS needs both RECSYS_TLS_CERT and RECSYS_TLS_KEY")
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls_cert, settings.tls_key, password=lambda: "")
        if settings.tls_client_ca is not None:
            context.load_verify_locations(settings.tls_client_ca)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or "they do not fit together"
        raise SettingsError(f"RECSYS_TLS_CERT and RECSYS_TLS_KEY cannot be used: {reason:.120}") from None


def arguments(settings: Settings) -> list[str]:
    """Of `bentoml serve`."""
    if settings.tls_cert is None or settings.tls_key is None:
        return []
    given = ["--ssl-certfile", str(settings.tls_cert), "--ssl-keyfile", str(settings.tls_key)]
    if settings.tls_client_ca is not None:
        given += ["--ssl-ca-certs", str(settings.tls_client_ca), "--ssl-cert-reqs", str(int(ssl.CERT_REQUIRED))]
    return given


def credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """For the gRPC server; None without TLS."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    pair = (settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())
    authority = settings.tls_client_ca.read_bytes() if settings.tls_client_ca is not None else None
    return grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)
