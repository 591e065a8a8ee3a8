"""Every setting is known, typed and checked once; what is wrong is one line, and no line holds a secret."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from recsys import settings_page
from recsys.settings import Settings, SettingsError, from_environment, is_secret, variable
from tests.conftest import ROOT

SECRET = "s3cr3t-and-long-enough"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"WORKRES": "2"}, ["RECSYS_WORKRES", "did you mean RECSYS_WORKERS"]),
        ({"API_KEY": SECRET}, ["RECSYS_API_KEY ", "RECSYS_API_KEYS"]),
        ({"API_KEYS": ""}, ["RECSYS_API_KEYS is empty"]),
        ({"API_KEYS": " "}, ["RECSYS_API_KEYS is empty"]),
        ({"API_KEYS": ","}, ["RECSYS_API_KEYS: key 1 of 2"]),
        ({"API_KEYS": "change-me-0123456789"}, ["RECSYS_API_KEYS: key 1 of 1 is a placeholder"]),
        ({"API_KEYS": f"event:{SECRET}"}, ["RECSYS_API_KEYS: key 1 of 1", "did you mean events:"]),
        ({"API_KEYS": f"Inspect:{SECRET}"}, ["RECSYS_API_KEYS: key 1 of 1", "did you mean inspect:"]),
        ({"API_KEYS": f"events:{SECRET},inspect:{SECRET}"}, ["RECSYS_API_KEYS: key 2 of 2 stands there before"]),
        ({"PSEUDONYM_KEY": "change-me-0123456789"}, ["RECSYS_PSEUDONYM_KEY: is a placeholder"]),
        ({"TRUSTED_PROXIES": "10.0.0.0/8,0.0.0.0/0"}, ["RECSYS_TRUSTED_PROXIES=", "0.0.0.0/0 is everybody"]),
        ({"STORE": "nonsense"}, ["RECSYS_STORE: give lmdb"]),
        ({"STORE": "redis://"}, ["RECSYS_STORE"]),
        ({"STORE": "redis+cluster://a:1,"}, ["RECSYS_STORE"]),
        ({"STORE": f"redis+cluster://u:{SECRET}@a:1,b:port"}, ["RECSYS_STORE"]),
        ({"STORE": f"http://u:{SECRET}@host/"}, ["RECSYS_STORE"]),
        ({"STORE": f"redis://u:{SECRET}@host:port/0"}, ["RECSYS_STORE"]),
        ({"STORE": f"redis://u:12/{SECRET}@host/0"}, ["RECSYS_STORE", "write the characters / ? # @"]),
        ({"STORE": f"redis+cluster://u:1/{SECRET}@a:1,b:2"}, ["RECSYS_STORE", "write the characters / ? # @"]),
        ({"STORE": f"redis://[{SECRET}]:1/0"}, ["RECSYS_STORE: give lmdb"]),
        ({"STORE": f"redis://host:1/{SECRET}"}, ["RECSYS_STORE", "a number, that of the database"]),
        ({"MILVUS_URI": f"https://u:1#{SECRET}@host"}, ["RECSYS_MILVUS_URI", "write the characters / ? # @"]),
        ({"DAGSTER_STORAGE": f"postgresql+psycopg2://u:1?{SECRET}@db/x"}, ["write the characters / ? # @"]),
        ({"DAGSTER_STORAGE": f"postgresql+psycopg2://u:{SECRET}@db:port/x"}, ["RECSYS_DAGSTER_STORAGE: say"]),
        ({"ALERT_WEBHOOK": f"https://[{SECRET}]/x"}, ["RECSYS_ALERT_WEBHOOK: give an address"]),
        ({"ALERT_WEBHOOK": f"https://u:{SECRET}@host/x"}, ["RECSYS_ALERT_WEBHOOK: give an address"]),
        ({"TRACES": "nonsense"}, ["RECSYS_TRACES: give an address"]),
        ({"MILVUS_URI": f"u:{SECRET}@host"}, ["RECSYS_MILVUS_URI"]),
        ({"ALERT_WEBHOOK": SECRET}, ["RECSYS_ALERT_WEBHOOK"]),
        ({"PSEUDONYM_KEY": "shorts3cr3t"}, ["RECSYS_PSEUDONYM_KEY"]),
        ({"HTTP_PORT": "3001"}, ["RECSYS_HTTP_PORT and RECSYS_GRPC_PORT are both 3001"]),
        ({"HTTP_PORT": "70000"}, ["RECSYS_HTTP_PORT=70000"]),
        ({"WORKERS": "two"}, ["RECSYS_WORKERS=two"]),
        ({"TRUSTED_PROXIES": "*"}, ["RECSYS_TRUSTED_PROXIES=*", "no network"]),
        ({"TLS_CERT": "a.pem"}, ["TLS needs both RECSYS_TLS_CERT and RECSYS_TLS_KEY"]),
        ({"RATING_LIKE": "1"}, ["RECSYS_RATING_DISLIKE must be below"]),
        ({"RATING_LIKE": "nan"}, ["RECSYS_RATING_LIKE=nan", "finite"]),
        ({"RATING_DISLIKE": "-inf"}, ["RECSYS_RATING_DISLIKE=-inf", "finite"]),
        ({"DAGSTER_STORAGE": f"postgresql://u:{SECRET}@db/x"}, ["RECSYS_DAGSTER_STORAGE: say postgresql+psycopg2://"]),
        ({"KAFKA_REJECTED": "x"}, ["RECSYS_KAFKA_TOPIC"]),
        ({"SERVED_LOG_GB": "inf"}, ["RECSYS_SERVED_LOG_GB=inf", "finite"]),
        ({"WORKERS": "2\n3"}, ["RECSYS_WORKERS=2 3:"]),
        ({"HOME": __file__}, ["RECSYS_HOME=", "is no folder"]),
        ({"HOME": f"{__file__}/below"}, ["RECSYS_HOME=", "is no folder"]),
        ({"DATA": "x" * 5_000}, ["RECSYS_DATA=xxx", "name too long"]),
        ({"TUNING_SECONDS": "inf"}, ["RECSYS_TUNING_SECONDS=inf", "finite"]),
        ({"KINDS": "view=impression,View=click"}, ["RECSYS_KINDS", "view stands there twice"]),
        ({"SOURCE": "files"}, ["RECSYS_SOURCE=files needs RECSYS_DATA"]),
        ({"CONFIG": "none.toml"}, ["RECSYS_CONFIG=none.toml", "no such file"]),
        ({"SECRETS": "none"}, ["RECSYS_SECRETS=none", "no such folder"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_one_line_without_a_secret(given: dict[str, str], words: list[str]) -> None:
    with pytest.raises(SettingsError) as refused:
        from_environment({variable(name): value for name, value in given.items()})
    line = str(refused.value)
    assert "\n" not in line and "s3cr3t" not in line
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wrokers = 3", "wrokers, in"),
        ("workers = ", "is no TOML"),
        ("workers = 'x'", "RECSYS_WORKERS=x"),
        ("http_port = 3001", "are both 3001"),
        ("workers = true", "RECSYS_WORKERS=true"),  # it counted as 1
        ("home = ''", "RECSYS_HOME is empty"),  # it was this folder
        ("data = 3", "RECSYS_DATA=3"),
        ("secrets = [1]", "RECSYS_SECRETS"),
        ("nonsense = 1", r"nonsense, in .*, is no setting; docs"),
    ],
)
def test_a_configuration_file_is_held_to_the_same(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "recsys.toml").write_text(text)
    with pytest.raises(SettingsError, match=words):
        from_environment({"RECSYS_CONFIG": str(tmp_path / "recsys.toml")})


def test_environment_then_secrets_then_file(tmp_path: Path) -> None:
    config, secrets = tmp_path / "recsys.toml", tmp_path / "secrets"
    secrets.mkdir()
    (secrets / "RECSYS_API_KEYS").write_text(f"{SECRET}-of-the-folder\n")  # as Kubernetes mounts a Secret
    (secrets / "recsys_pseudonym_key").write_text(f"{SECRET}\n")  # as Docker does
    config.write_text(f'workers = 3\nhttp_port = 4000\nbudget_ms = 700\napi_keys = "{SECRET}"\nsecrets = "{secrets}"\n')
    settings = from_environment({"RECSYS_CONFIG": str(config), "RECSYS_HTTP_PORT": "4001"})
    assert (settings.workers, settings.http_port, settings.budget_ms) == (3, 4001, 700)
    assert settings.keys == (f"{SECRET}-of-the-folder",)
    assert settings.pseudonym_key is not None and settings.pseudonym_key.get_secret_value() == SECRET
    (secrets / "recsys_pseudonym_key").write_text("")
    with pytest.raises(SettingsError, match="RECSYS_PSEUDONYM_KEY is empty"):
        from_environment({"RECSYS_SECRETS": str(secrets)})
    (secrets / "recsys_pseudonym_key").unlink()
    (secrets / "recsys_pseudonym_key").mkdir()  # as Docker does where the file of a secret is missing: it was none
    with pytest.raises(SettingsError, match=r"recsys_pseudonym_key, in .*, is no file"):
        from_environment({"RECSYS_SECRETS": str(secrets)})
    (secrets / "recsys_pseudonym_key").rmdir()
    (secrets / "recsys_api_kyes").write_text("x")
    with pytest.raises(SettingsError, match=r"recsys_api_kyes.*did you mean RECSYS_API_KEYS"):
        from_environment({"RECSYS_CONFIG": str(config)})


def test_a_secret_is_never_printed() -> None:
    given = {
        "STORE": f"redis://user:{SECRET}@host:6379/0",
        "MILVUS_URI": f"https://user:{SECRET}@host:19530",
        "TRACES": f"http://user:{SECRET}@host:4318",
        "API_KEYS": SECRET,
        "PSEUDONYM_KEY": SECRET,
        "ALERT_WEBHOOK": f"https://host/{SECRET}",
        "DAGSTER_STORAGE": f"postgresql+psycopg2://u:{SECRET}@host/db",
    }
    settings = from_environment({variable(name): value for name, value in given.items()})
    assert {name.lower() for name in given} == {name for name in Settings.model_fields if is_secret(name)}
    assert SECRET not in f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"
    assert str(settings.store) == "redis://host:6379/0" and SECRET in settings.store.get_secret_value()


def test_an_unreachable_redis_is_named_without_its_password() -> None:
    from recsys.store.errors import StoreUnavailable
    from recsys.store.opening import open_store

    with pytest.raises(StoreUnavailable, match=r"redis://127\.0\.0\.1:1/0") as refused:
        open_store(Settings(store=f"redis://user:{SECRET}@127.0.0.1:1/0"))
    assert SECRET not in str(refused.value)


def test_make_check_looks_at_the_settings_before_the_source(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "recsys_assets.check"],
        env={"RECSYS_DATA": str(tmp_path / "none"), "RECSYS_STORE": "nonsense", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert ended.returncode == 2 and ended.stdout.count("\n") == 1 and "RECSYS_STORE" in ended.stdout


def test_the_page_of_settings_is_that_of_the_model() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert page == settings_page.page(), "run `make docs`"
    assert all(f"`{variable(name)}`" in page for name in Settings.model_fields)
