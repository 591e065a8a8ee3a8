"""Every setting the environment can give, read once at an edge (a host's start), never inside the core."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

Source = Literal["simulator", "kuairand", "files"]


class SettingsError(ValueError):
    """A setting is missing or malformed; the message says which variable and what it takes."""


class Settings(BaseModel):
    """Settings by field; the environment variable is RECSYS_ and the field's name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path = Field(default=Path("var"), description="folder that holds everything the project writes")
    source: Source = "simulator"
    data: Path | None = Field(default=None, description="folder of the kuairand or files source")
    days: int = Field(default=14, ge=3, le=3650, description="days the simulator lives")
    users: int = Field(default=4000, ge=10, description="users of the simulator")
    seed: int = 7
    test_days: int = Field(default=3, ge=1)
    validation_days: int = Field(default=2, ge=1)
    tuning_trials: int = Field(default=0, ge=0, description="trials of the ranker's study; 0: the defaults stand")
    tuning_jobs: int = Field(default=1, ge=1, description="trials at once")
    tuning_seconds: float | None = Field(default=None, gt=0, description="the study ends after so long at the latest")
    http_port: int = Field(default=3000, ge=1, le=65535)
    grpc_port: int = Field(default=3001, ge=1, le=65535)
    host: str = "127.0.0.1"
    milvus_uri: str | None = Field(default=None, description="a Milvus server; unset: one embedded server process")
    mirror_rows: int = Field(default=200_000, ge=0, description="items up to which each worker searches in memory")
    store: str = Field(default="lmdb", description="lmdb, or redis://host:port/db")
    workers: int = Field(default=1, ge=1)
    api_keys: SecretStr | None = Field(default=None, description="keys that may call, with commas; unset: anybody may")
    budget_ms: int = Field(default=500, ge=20, le=10_000, description="milliseconds from a request to its slate")
    served_log_days: int = Field(default=30, ge=1, description="days that the served log keeps")
    tls_cert: Path | None = Field(default=None, description="certificate chain (PEM): HTTPS, and TLS for gRPC")
    tls_key: Path | None = Field(default=None, description="its private key (PEM)")
    tls_client_ca: Path | None = Field(default=None, description="callers must show a certificate of this authority")
    log_requests: Literal["bad", "all"] = Field(default="bad", description="which requests get a line in the log")
    traces: str | None = Field(default=None, description="OpenTelemetry collector (OTLP over HTTP), http://host:4318")
    trace_share: float = Field(default=0.1, ge=0, le=1, description="share of the requests that are traced")
    pseudonym_key: SecretStr | None = Field(
        default=None, min_length=16, description="hashes user ids at the border; unset: ids stay as they are"
    )
    rate_limit: int | None = Field(default=None, ge=1, description="requests a second of a key or peer, by worker")
    alert_webhook: SecretStr | None = Field(default=None, description="address that is told of failed runs, as JSON")
    dagster_storage: SecretStr | None = Field(
        default=None, description="postgresql+psycopg2://user:password@host/db for Dagster's records; unset: SQLite"
    )
    engine: Literal["local", "spark"] = Field(
        default="local", description="what sweeps the past: this machine or Spark"
    )
    rows_mb: int | None = Field(
        default=None, ge=0, description="feature matrix up to which trees learn in memory; unset: an eighth of memory"
    )
    spark_master: str = Field(default="local[2]", description="Spark's master; executors must import this package")


def from_environment(environment: dict[str, str] | None = None) -> Settings:
    """Settings of this process.

    Raises:
        SettingsError: one line that names the variable, its value and what is accepted.
    """
    environment = dict(os.environ) if environment is None else environment
    given = {
        name: environment[f"RECSYS_{name.upper()}"]
        for name in Settings.model_fields
        if environment.get(f"RECSYS_{name.upper()}")
    }
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name = f"RECSYS_{str(first['loc'][0]).upper()}"
        raise SettingsError(f"{name}={first['input']!s:.80}: {first['msg']}") from None
    if settings.source != "simulator" and settings.data is None:
        raise SettingsError(f"RECSYS_SOURCE={settings.source} needs RECSYS_DATA, the folder that holds its files")
    return settings.model_copy(update={"home": settings.home.resolve()})
