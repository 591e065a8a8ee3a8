"""TLS of both fronts from one certificate, checked before anything starts."""

from __future__ import annotations

import logging
import ssl
from typing import Any

import grpc
import uvicorn.config

from bentos.recommender.stamps import Stamp, stamps
from recsys.settings import Settings, SettingsError

log = logging.getLogger("recsys.service")

# Of TLS 1.2: forward secrecy and authenticated encryption alone. The framework's default, "TLSv1", leaves TLS 1.2 with
# CBC and SHA-1. TLS 1.3 has no others.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"


def require_whole(settings: Settings) -> None:
    """Load what the settings name once.

    Raises:
        SettingsError: a file is missing, unreadable or does not fit the other.
    """
    if settings.tls_cert is None and settings.tls_key is None and settings.tls_client_ca is None:
        return
    assert settings.tls_cert is not None and settings.tls_key is not None  # or there were no settings
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
    given = ["--ssl-certfile", str(settings.tls_cert), "--ssl-keyfile", str(settings.tls_key), "--ssl-ciphers", CIPHERS]
    if settings.tls_client_ca is not None:
        given += ["--ssl-ca-certs", str(settings.tls_client_ca), "--ssl-cert-reqs", str(int(ssl.CERT_REQUIRED))]
    return given


class Certificates:
    """The pair that this worker shows, taken anew when its files change: by handshakes that begin after that.

    The authority of callers is that of the start: OpenSSL adds to those that it trusts, and drops none.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._files = [file for file in (settings.tls_cert, settings.tls_key) if file is not None]
        self._looked_at = self._state()
        self._http: list[ssl.SSLContext] = []
        self._grpc: list[grpc.ServerCertificateConfiguration] = []  # that gRPC has not asked for yet
        if self._files:
            self._follow_http()

    def credentials(self) -> grpc.ServerCredentials | None:
        """For the gRPC server; None without TLS."""
        if not self._files:
            return None
        asks_back = self._settings.tls_client_ca is not None
        return grpc.dynamic_ssl_server_credentials(self._for_grpc(), self._changed, asks_back)

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Asked by gRPC before each handshake."""
        return self._grpc.pop() if self._grpc else None

    def renew(self) -> None:
        """Take the pair anew if a file changed. Called where handshakes are made, every second: it only looks then."""
        state = self._state()
        if state == self._looked_at:
            return
        self._looked_at = state
        try:
            require_whole(self._settings)
            for context in self._http:
                context.load_cert_chain(*self._files, password=lambda: "")
            self._grpc = [self._for_grpc()]
        except (SettingsError, OSError) as error:  # one of the two is yet to come, say
            log.error("the certificate stays as it was: %s", error)
        else:
            log.info("certificate taken anew")

    def _state(self) -> list[Stamp]:
        try:
            return stamps(self._files)
        except OSError:  # being replaced: looked at again in a second
            return []

    def _for_grpc(self) -> grpc.ServerCertificateConfiguration:
        cert, key = self._files
        authority = self._settings.tls_client_ca
        roots = None if authority is None else authority.read_bytes()
        return grpc.ssl_server_certificate_configuration([(key.read_bytes(), cert.read_bytes())], roots)

    def _follow_http(self) -> None:
        """Keep the contexts that uvicorn (0.54) makes; it lets a factory make them, and BentoML names none."""
        made = uvicorn.config.create_ssl_context

        def create(*given: Any, **named: Any) -> ssl.SSLContext:
            self._http.append(made(*given, **named))
            return self._http[-1]

        uvicorn.config.create_ssl_context = create
