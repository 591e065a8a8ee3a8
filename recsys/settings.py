"""Every setting there is: known, typed and checked once, at an edge (a host's start), never inside the core.

A value is looked for in the environment (`RECSYS_` and the field's name in capitals), then in the folder of secrets
that `RECSYS_SECRETS` names (one file a setting), then in the TOML file that `RECSYS_CONFIG` names. A name that is no
setting is refused, and no message ever holds a secret.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    Secret,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings import SettingsError as SourceError

from recsys import keyfile
from recsys.addresses import SecretUrl, address, split
from recsys.events import KINDS

Source = Literal["simulator", "kuairand", "files"]
WorldName = Literal["default", "home"]
PREFIX: Final = "RECSYS_"
CLUSTER_SCHEMES: Final = ("redis+cluster", "rediss+cluster")
KEY_LENGTH: Final = 16  # shorter keys can be guessed
ROLES: Final = ("events", "recommend", "inspect", "admin")  # what a key is for: `role:KEY`; admin, where none is said
PLACEHOLDERS: Final = ("change-me", "changeme", "placeholder", "example", "your-key")
# where tests and benchmarks look for public data sets: in the environment of what they start, and no settings of it
DATA_SETS: Final = frozenset({"RECSYS_KUAIRAND", "RECSYS_OPEN_BANDIT", "RECSYS_MOVIELENS"})


class SettingsError(ValueError):
    """A setting is missing, malformed or unknown; the message says which variable and what it takes, in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))  # a value may hold line breaks


Topic = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._-]{1,249}$")]  # as Kafka's own rule


class Settings(BaseModel):
    """Settings by field; the environment variable is RECSYS_ and the field's name in capitals."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # where settings come from, and where everything goes
    config: Path | None = Field(
        default=None, description="TOML file of settings: `workers = 2`, names as here in small letters"
    )
    secrets: Path | None = Field(
        default=None,
        description="folder with one file a setting (`recsys_api_keys`), as Docker and Kubernetes mount them",
    )
    home: Path = Field(
        default=Path("var"), description="folder that holds everything the project writes; of one source"
    )
    # the source
    source: Source = Field(
        default="simulator",
        description="what is read; with RECSYS_DATA alone, one of the latter two by the files there",
    )
    data: Path | None = Field(default=None, description="folder of the kuairand or files source")
    heartbeats: Literal["none", "increments", "totals"] = Field(
        default="none", description="what many plays of one view in your files say: each its own time, or all so far"
    )
    kinds: tuple[tuple[str, str], ...] = Field(
        default=(), description="what a log's own kinds mean: view=impression,watch=play,stars=rating"
    )
    rating_like: float = Field(default=4, allow_inf_nan=False, description="a rating from here on is a like")
    rating_dislike: float = Field(
        default=2, allow_inf_nan=False, description="a rating up to here is a dislike; between, a click"
    )
    days: int = Field(default=14, ge=3, le=3650, description="days the simulator lives")
    users: int = Field(default=4000, ge=10, description="users of the simulator")
    seed: int = Field(default=7, description="of the simulated world")
    world: WorldName = Field(
        default="default",
        description="of the simulator: `home` has shows with episodes, routines, and listeners who say who they are",
    )
    # learning
    test_days: int = Field(default=3, ge=1, description="the last days, to test on")
    validation_days: int = Field(default=2, ge=1, description="the days before them, to choose on")
    tuning_trials: int = Field(default=0, ge=0, description="trials of the ranker's study; 0: the defaults stand")
    tuning_jobs: int = Field(default=1, ge=1, description="trials at once")
    tuning_seconds: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="the study ends after so long at the latest"
    )
    engine: Literal["local", "spark"] = Field(
        default="local", description="what sweeps the past and trains the trees: this machine, or Spark (Java 17)"
    )
    rows_mb: int | None = Field(
        default=None, ge=0, description="feature matrix up to which rankers learn in memory; unset: an eighth of memory"
    )
    spark_master: str = Field(default="local[2]", description="Spark's master; executors must import this package")
    # the stores
    store: Annotated[
        SecretUrl,
        address(
            *("redis", "rediss", *CLUSTER_SCHEMES),
            takes="give lmdb, redis://host:port/db, or redis+cluster://host:port,host:port",
            word="lmdb",
        ),
    ] = Field(
        default=SecretUrl("lmdb"),
        description="the online store: `lmdb`, `redis://host:port/db`, or `redis+cluster://host:port,host:port` (some "
        "nodes of a Redis Cluster)",
    )
    store_cache_mb: int = Field(
        default=256,
        ge=1,
        description="MB of state that each worker keeps of a store in Redis: the rest is read when it is asked for",
    )
    milvus_uri: Annotated[SecretUrl, address("http", "https")] | None = Field(
        default=None, description="a Milvus server; unset: one embedded server process, shared by all"
    )
    mirror_rows: int = Field(
        default=200_000, ge=0, description="items up to which each worker searches in memory, and not in Milvus"
    )
    dagster_storage: SecretStr | None = Field(
        default=None, description="postgresql+psycopg2://user:password@host/db for Dagster's records; unset: SQLite"
    )
    # the service
    host: str = Field(default="127.0.0.1", min_length=1, description="name or address to listen on")
    http_port: int = Field(default=3000, ge=1, le=65535, description="of HTTP")
    grpc_port: int = Field(default=3001, ge=1, le=65535, description="of gRPC")
    dagster_port: int = Field(default=3070, ge=1, le=65535, description="of `make dev`")
    workers: int = Field(default=1, ge=1, le=256, description="processes that answer")
    budget_ms: int = Field(default=500, ge=20, le=10_000, description="milliseconds from a request to its slate")
    explore: bool = Field(
        default=True, description="whether places of slates that shelves leave to chance are drawn, with logged chances"
    )
    keep_alive: int = Field(
        default=75, ge=1, le=3600, description="seconds an idle HTTP connection stays open: longer than your balancer's"
    )
    journal_days: int = Field(
        default=7,
        ge=0,
        description="days of live events that the store's journal keeps, besides today, once state and lake hold them",
    )
    deduplication_days: int = Field(
        default=105,
        ge=1,
        description="days for which the ids of events are kept: a live event that says it happened earlier is refused",
    )
    served_log_days: int = Field(
        default=30, ge=1, description="days that the served log keeps: the last on which something was served"
    )
    served_log_gb: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="GB that the served log keeps at most: its oldest segments go first",
    )
    # a stream (docs/stream.md)
    kafka: Path | None = Field(
        default=None, description="file of librdkafka's properties (`bootstrap.servers=host:port`); it may hold secrets"
    )
    kafka_topic: Topic | None = Field(default=None, description="topic that `make stream` reads events from")
    kafka_rejected: Topic | None = Field(
        default=None, description="topic of messages that are no events; unset: the name of RECSYS_KAFKA_TOPIC.rejected"
    )
    kafka_served: Topic | None = Field(default=None, description="topic that the slates go to that were served")
    stream_port: int = Field(default=3002, ge=1, le=65535, description="of `make stream`: /metrics, /livez, /readyz")
    # who may call
    api_keys: SecretStr | None = Field(
        default=None,
        description="keys that may call, with commas, 16 visible ASCII characters or more each, before it what it is "
        "for: `events:`, `recommend:`, `inspect:` or `admin:` (also without a word); unset: anybody may",
    )
    page: bool = Field(
        default=True, description="whether the page at / and the calls that look into requests are there"
    )
    sandbox: bool = Field(
        default=False,
        description="whether `sandbox:` users, copies of users that nothing learns from, may be sent events",
    )
    rate_limit: int | None = Field(default=None, ge=1, description="requests a second of a key or peer, by worker")
    trusted_proxies: str = Field(
        default="",
        description="addresses or networks, with commas, whose X-Forwarded-For names the caller; unset: none",
    )
    tls_cert: Path | None = Field(default=None, description="certificate chain (PEM): HTTPS, and TLS for gRPC")
    tls_key: Path | None = Field(default=None, description="its private key (PEM)")
    tls_client_ca: Path | None = Field(default=None, description="callers must show a certificate of this authority")
    pseudonym_key: SecretStr | None = Field(
        default=None, min_length=16, description="hashes user ids at the border; unset: ids stay as they are"
    )
    encryption_keys: Path | None = Field(
        default=None,
        description="file of keys that encrypt journal (LMDB), served log and backups; unset: not encrypted",
    )
    # what is told
    log_requests: Literal["bad", "all"] = Field(
        default="bad", description="requests with a line in the log: `bad` (refused, failed, on a lower rung) or `all`"
    )
    traces: Annotated[SecretUrl, address("http", "https")] | None = Field(
        default=None, description="OpenTelemetry collector (OTLP over HTTP), http://host:4318"
    )
    trace_share: float = Field(default=0.1, ge=0, le=1, description="share of the requests that are traced")
    alert_webhook: SecretStr | None = Field(default=None, description="address that is told of failed runs, as JSON")

    @property
    def has_embedded_store(self) -> bool:
        """Whether the online store is LMDB below `home`, which one machine's processes share, and no server."""
        return self.store.get_secret_value() == "lmdb"

    @property
    def keys(self) -> tuple[str, ...]:
        """The single keys of `api_keys`."""
        given = self.api_keys.get_secret_value() if self.api_keys else ""
        return tuple(key.strip() for key in given.split(",")) if given else ()

    @field_validator("kinds", mode="before")
    @classmethod
    def _pairs(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        pairs = [tuple(part.strip().lower() for part in pair.split("=")) for pair in given.split(",") if pair.strip()]
        if wrong := next((p for p in pairs if len(p) != 2 or p[1] not in (*KINDS, "rating") or not p[0]), None):
            raise ValueError(f"{'='.join(wrong)} is no pair of a word and one of {', '.join(KINDS)}, rating")
        words = [word for word, _ in pairs]
        if twice := next((word for word in words if words.count(word) > 1), None):
            raise ValueError(f"{twice} stands there twice: say once what it means")
        return tuple(pairs)

    @field_validator("api_keys")
    @classmethod
    def _no_poor_key(cls, given: SecretStr | None) -> SecretStr | None:
        keys = given.get_secret_value().split(",") if given is not None else []
        secrets = [role_of(key.strip())[1] for key in keys]
        for number, key in enumerate(secrets, start=1):
            this = f"key {number} of {len(keys)}"
            if len(key) < KEY_LENGTH or not all("!" <= character <= "~" for character in key):
                raise ValueError(f"{this} needs {KEY_LENGTH} or more visible ASCII characters")
            if any(word in key.lower() for word in PLACEHOLDERS):
                raise ValueError(f"{this} is a placeholder: make one, `openssl rand -hex 24`")
            if key in secrets[: number - 1]:
                raise ValueError(f"{this} stands there before: a key has one role, or none and then opens everything")
            if ":" in key and (near := difflib.get_close_matches(key.partition(":")[0].lower(), ROLES, 1, 0.75)):
                raise ValueError(f"{this} begins with a word that is no role: did you mean {near[0]}: ?")
        return given

    @field_validator("pseudonym_key")
    @classmethod
    def _no_placeholder(cls, given: SecretStr | None) -> SecretStr | None:
        if given is not None and any(word in given.get_secret_value().lower() for word in PLACEHOLDERS):
            raise ValueError("is a placeholder: make one, `openssl rand -hex 24`")
        return given

    @field_validator("encryption_keys")
    @classmethod
    def _keys(cls, given: Path | None) -> Path | None:
        if given is not None:
            keyfile.read(given)
        return given

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, given: str) -> str:
        for part in filter(None, (part.strip() for part in given.split(","))):
            try:
                network = ipaddress.ip_network(part, strict=False)
            except ValueError:
                raise ValueError(f"{part:.60} is no address and no network such as 10.0.0.0/8") from None
            if not network.prefixlen:
                raise ValueError(f"{part:.60} is everybody, who could then name any caller: give the proxies alone")
        return given

    @field_validator("dagster_storage")
    @classmethod
    def _driver(cls, given: SecretStr | None) -> SecretStr | None:
        takes = "say postgresql+psycopg2://user:password@host:port/db, with the driver of dagster-postgres"
        if given is not None:
            url = split(given.get_secret_value(), takes)
            if url.scheme != "postgresql+psycopg2" or not re.fullmatch(r"(.*@)?([^:]*|\[.*\])(:\d+)?", url.netloc):
                raise ValueError(takes)
        return given

    @field_validator("alert_webhook")
    @classmethod
    def _web_address(cls, given: SecretStr | None) -> SecretStr | None:
        takes = "give an address such as https://host/path"
        if given is not None:
            url = split(given.get_secret_value(), takes)
            if url.scheme not in ("http", "https") or not re.fullmatch(r"([^:@]+|\[.*\])(:\d+)?", url.netloc):
                raise ValueError(takes)
        return given

    @model_validator(mode="after")
    def _fit_together(self) -> Settings:
        if self.http_port == self.grpc_port:
            raise ValueError(f"RECSYS_HTTP_PORT and RECSYS_GRPC_PORT are both {self.http_port}: give each its own")
        if (self.kafka is None) != (self.kafka_topic is None and self.kafka_served is None):
            raise ValueError("a stream needs RECSYS_KAFKA, and RECSYS_KAFKA_TOPIC, RECSYS_KAFKA_SERVED or both")
        if self.kafka_rejected is not None and self.kafka_topic is None:
            raise ValueError("RECSYS_KAFKA_REJECTED is of messages from RECSYS_KAFKA_TOPIC: set that too")
        if self.rating_dislike >= self.rating_like:
            raise ValueError("RECSYS_RATING_DISLIKE must be below RECSYS_RATING_LIKE")
        if (self.tls_cert is None) != (self.tls_key is None) or (self.tls_client_ca and self.tls_cert is None):
            raise ValueError("TLS needs both RECSYS_TLS_CERT and RECSYS_TLS_KEY")
        return self


def role_of(key: str) -> tuple[str, str]:
    """What a key of `api_keys` is for (one of ROLES), and its secret."""
    role, colon, secret = key.partition(":")
    return (role, secret) if colon and role in ROLES else ("admin", key)


def variable(name: str) -> str:
    """The environment variable of a field."""
    return f"{PREFIX}{name.upper()}"


def is_secret(name: str) -> bool:
    """Whether the field's value is never printed."""
    annotation = Settings.model_fields[name].annotation
    kinds = get_args(annotation) or (annotation,)
    kinds = tuple(getattr(kind, "__origin__", kind) for kind in kinds)  # of Annotated[...] | None the type itself
    return any(isinstance(kind, type) and issubclass(kind, Secret | SecretStr) for kind in kinds)


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Settings of this process: environment, secrets, configuration file, in that order.

    Raises:
        SettingsError: one line that names the variable, its value (a secret's never) and what is accepted.
    """
    environment = dict(os.environ) if environment is None else environment
    given = {name: value for name, value in environment.items() if name.upper().startswith(PREFIX)}
    for name in sorted(given.keys() - DATA_SETS):
        if name not in _VARIABLES:
            raise SettingsError(f"{name} is no setting{_meant(name)}; docs/settings.md lists them")
        _require_said(name.removeprefix(PREFIX).lower(), given[name])
    try:
        settings = _read(given)
    except ValidationError as error:
        raise SettingsError(_line(error, given.get("RECSYS_CONFIG", ""))) from None
    if settings.source != "simulator" and settings.data is None:
        raise SettingsError(f"RECSYS_SOURCE={settings.source} needs RECSYS_DATA, the folder that holds its files")
    home = settings.home.resolve()
    if not next(path for path in (home, *home.parents) if path.exists()).is_dir():
        raise SettingsError(f"RECSYS_HOME={home!s:.80} is no folder and cannot be one: a file is in its place")
    return settings.model_copy(update={"home": home})


class _Sources(Settings, BaseSettings):
    """What the sources of pydantic-settings want to know of the fields."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, enable_decoding=False)


def _read(given: Mapping[str, str]) -> Settings:
    """What each source says, the first one's word before the next one's, checked once."""
    config = given.get("RECSYS_CONFIG")
    filed: dict[str, Any] = {}
    if config:
        with _naming(f"RECSYS_CONFIG={config:.80}", Path.is_file, config):
            filed = TomlConfigSettingsSource(_Sources, toml_file=config)()
    environment = EnvSettingsSource(_Sources)
    environment.env_vars = {name.lower(): value for name, value in given.items()}
    said = environment()
    told = {**filed, **said}
    secrets = told.get("secrets")
    if isinstance(secrets, str) and secrets:
        with _naming(f"RECSYS_SECRETS={secrets:.80}", Path.is_dir, secrets):
            _require_known(Path(secrets))
            hidden = SecretsSettingsSource(_Sources, secrets_dir=secrets)()
        told = {**filed, **hidden, **said}
    for name, value in told.items():
        _require_said(name, value)
    data = told.get("data")
    if isinstance(data, str) and "source" not in told:
        with _naming(f"RECSYS_DATA={data:.80}"):
            told["source"] = "kuairand" if list(Path(data).glob("log_standard_*_pure.csv")) else "files"
    return Settings.model_validate(told)


@contextmanager
def _naming(what: str, there: Callable[[Path], bool] = Path.exists, path: str = "") -> Iterator[None]:
    """Whatever keeps a file from being read is told with the setting that names it."""
    try:
        if path and not there(Path(path)):
            raise SettingsError(f"{what}: there is no such {'file' if there is Path.is_file else 'folder'}")
        yield
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{what} is no TOML: {error}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{what} cannot be read: it is not text in UTF-8") from None
    except (OSError, SourceError) as error:
        raise SettingsError(f"{what} cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _require_said(name: str, value: object) -> None:
    """Something, and no `true` where a number is due (which counts as 1)."""
    if isinstance(value, str) and not value.strip():
        raise SettingsError(f"{variable(name)} is empty: give it a value, or unset it")
    field = Settings.model_fields.get(name)
    if isinstance(value, bool) and field is not None and field.annotation is not bool:
        raise SettingsError(f"{variable(name)}={str(value).lower()}: this setting is not switched on or off")


def _require_known(folder: Path) -> None:
    """Whatever is named like a setting is one, and a file: Docker mounts a folder where a secret's file is missing."""
    for path in sorted(folder.iterdir()):
        if path.name.upper().startswith(PREFIX):
            if path.name.upper() not in _VARIABLES:
                meant = _meant(path.name)
                raise SettingsError(
                    f"{path.name}, a file of {folder!s:.60}, is no setting{meant}; docs/settings.md lists them"
                )
            if not path.is_file():
                raise SettingsError(
                    f"{path.name}, in {folder!s:.60}, is no file that can be read: put the secret there"
                )


def _meant(name: str) -> str:
    near = difflib.get_close_matches(name.upper().removeprefix(PREFIX), [n.upper() for n in Settings.model_fields], n=1)
    return f" (did you mean {PREFIX}{near[0]}?)" if near else ""


def _line(error: ValidationError, where: str) -> str:
    """The first thing wrong, in one line."""
    first = error.errors(include_url=False, include_context=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    name = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        meant = _meant(name).replace(PREFIX, "").lower()
        return f"{name}, in {where}, is no setting{meant}; docs/settings.md lists them"
    shown = "" if is_secret(name) else f"={first['input']!s:.80}"
    return f"{variable(name)}{shown}: {' '.join(message.split())}"


_VARIABLES: Final = tuple(variable(name) for name in Settings.model_fields)
