"""Encryption at rest: what is kept says nothing without its key, reads the same with it, and tells what was altered."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from recsys import keyfile
from recsys.encryption import Keyring, _derived
from recsys.features.parity import audit_served
from recsys.lake import Lake
from recsys.registry import Registry
from recsys.serving import served_log
from recsys.serving.bundle import load
from recsys.serving.forget import traces
from recsys.serving.opening import open_recommender
from recsys.serving.replay import replay_requests
from recsys.serving.schema import BlockRequest, Context, EventsRequest, RecommendRequest
from recsys.serving.sealing import seal
from recsys.serving.segment_files import ServedLogError
from recsys.settings import Settings, SettingsError, from_environment
from recsys.store.errors import StoreError
from recsys.store.opening import open_store
from recsys_assets import rotate
from recsys_assets.forget import forgotten
from tests.serving.test_backup import done, refused
from tests.serving.world import World

WHO = "somebody-with-a-secret"


@pytest.mark.parametrize(
    ("key", "about", "kept"),
    [
        (b"\1", b"", "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
        (b"\3", b"c2sp.org/XAES-256-GCM", "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"),
    ],
)
def test_it_is_xaes_256_gcm(key: bytes, about: bytes, kept: str) -> None:
    nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX"
    cipher = AESGCM(_derived(key * 32, nonce[:12]))
    assert cipher.encrypt(nonce[12:], b"XAES-256-GCM", about).hex() == kept


def test_no_nonce_comes_twice() -> None:
    rings = [Keyring([b"k" * 32]) for _ in range(3)]
    nonces = {ring.encrypt(b"the same", b"")[5:29] for ring in rings for _ in range(1000)}
    assert len(nonces) == 3000


@pytest.fixture(scope="module")
def lived(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path]:
    """A home in which somebody was served before there was a key, and with one; and its keys."""
    home, keys = tmp_path_factory.mktemp("sealed") / "home", tmp_path_factory.mktemp("keys") / "keys"
    shutil.copytree(world.settings.home, home, symlinks=True, ignore=shutil.ignore_patterns("milvus", "served_log"))
    keyfile.add(keys, "first")
    settings = world.settings.model_copy(update={"home": home})
    with pytest.MonkeyPatch.context() as patched:
        for number in range(2):
            service = open_recommender(settings, follow=False, clock=lambda: world.simulator_end)
            user = world.user_ids[0] if number == 0 else WHO
            service.block(BlockRequest(user_id=user, block={"item_ids": world.item_ids[:1]}))
            for at in range(5):
                service.recommend(RecommendRequest(user_id=user, k=3, context=Context(at=world.simulator_end)))
                event = {"kind": "click", "user_id": user, "item_id": world.item_ids[at], "event_id": f"{user}-{at}"}
                service.record_events(EventsRequest(events=[event]))
            service.close()
            patched.setenv("RECSYS_ENCRYPTION_KEYS", str(keys))
    return settings, keys


@pytest.fixture
def home(lived: tuple[Settings, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A copy of it, with its keys in the environment."""
    shutil.copytree(lived[0].home, tmp_path / "home", symlinks=True)
    shutil.copy(lived[1], tmp_path / "keys")
    monkeypatch.setenv("RECSYS_ENCRYPTION_KEYS", str(tmp_path / "keys"))
    return lived[0].model_copy(update={"home": tmp_path / "home"})


def says(folder: Path, name: str = WHO) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and name.encode() in path.read_bytes()]


def reads_well(world: World, settings: Settings) -> None:
    store, registry = open_store(settings), Registry(Lake(settings.home).registry)
    served = served_log.read(served_log.segments(Lake(settings.home).served_log))
    assert sum(user == WHO for user in served["user_id"].to_pylist()) == 15 and served.num_rows == 30
    requests = replay_requests(served, store, lambda name: load(registry.get(name), None, store.fingerprint, registry))
    assert requests.same == 10 and not requests.different, str(requests)
    audit = audit_served(store.export()[0], store.items_at, served)
    assert audit.values and audit.holds, str(audit)
    assert [event["user_id"] for event in store.tail(0).to_pylist()].count(WHO) == 5
    assert len(store.blocked(WHO).items) == 1
    asked = served.filter(served["user_id"].to_numpy() == WHO)["request_id"][0].as_py()
    answer = served_log.find(Lake(settings.home).served_log, asked)
    assert answer is not None and answer.num_rows == 3
    assert served_log.latest(Lake(settings.home).served_log, 1, WHO)
    store.close()


def test_replay_checks_and_inspection_read_it_and_no_file_says_who(world: World, home: Settings) -> None:
    reads_well(world, home)
    assert not says(home.home / "store") and not says(home.home / "served_log")
    for path in served_log.segments(Lake(home.home).served_log):
        seal(path)
    assert [path.suffix for path in served_log.segments(Lake(home.home).served_log)] == [".parquet"] * 2
    reads_well(world, home)
    assert not says(home.home / "served_log") and "events of the store" in forgotten(home, WHO)
    assert not traces([WHO], home.home)


def test_the_newest_key_encrypts_all_anew_and_the_old_one_may_go(
    world: World, home: Settings, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    keys = tmp_path / "keys"
    seal(served_log.segments(Lake(home.home).served_log)[0])
    monkeypatch.setenv("RECSYS_HOME", str(home.home))
    assert rotate.main(["first"]) == 2 and "no new name" in capsys.readouterr().err
    assert rotate.main(["second"]) == 0 and "key second: the journal, 2 segments" in capsys.readouterr().out
    keys.write_text(keys.read_text().splitlines()[1] + "\n")
    reads_well(world, home)
    assert not says(home.home / "store", world.user_ids[0] + "-0")  # also what was kept before there was a key


def test_a_backup_is_encrypted_and_is_restored_with_its_key_only(world: World, home: Settings, tmp_path: Path) -> None:
    keys, vault = tmp_path / "keys", tmp_path / "vault"
    done(home.home, "backup", str(vault))
    assert ", 0 of them new" in done(home.home, "backup", str(vault))
    assert not says(vault) and not says(vault, "lake/cleaned") and not says(vault, world.champion.bundle_id)
    keyfile.add(tmp_path / "others", "x")
    told = refused(tmp_path / "new", "restore", str(vault), RECSYS_ENCRYPTION_KEYS=str(tmp_path / "others"))
    assert "RECSYS_ENCRYPTION_KEYS does not hold: add its line" in told
    largest = max((vault / "objects").glob("*/*"), key=lambda path: path.stat().st_size)
    whole = largest.read_bytes()
    largest.write_bytes(whole[:100] + bytes([whole[100] ^ 1]) + whole[101:])
    assert "was altered" in refused(tmp_path / "new", "restore", str(vault))
    largest.write_bytes(whole)
    done(tmp_path / "new", "restore", str(vault), RECSYS_ENCRYPTION_KEYS=str(keys))
    reads_well(world, home.model_copy(update={"home": tmp_path / "new"}))


@pytest.mark.parametrize("suffix", [".served", ".parquet"])
def test_a_flipped_bit_and_a_wrong_key_are_told(
    home: Settings, suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Lake(home.home).served_log
    path = served_log.segments(log)[-1]
    if suffix == ".parquet":
        seal(path)
        path = path.with_suffix(suffix)
    whole = path.read_bytes()

    def read() -> object:
        return served_log.read([path])

    for place in (len(whole) // 3, len(whole) // 2):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        refuses(read, ServedLogError, "altered|does not open")
    path.write_bytes(whole)
    keyfile.add(tmp_path / "others", "x")
    monkeypatch.setenv("RECSYS_ENCRYPTION_KEYS", str(tmp_path / "others"))
    refuses(read, ServedLogError, "does not hold|does not open")
    refuses(lambda: open_store(home), StoreError, "does not hold: add its line")
    monkeypatch.delenv("RECSYS_ENCRYPTION_KEYS")
    refuses(read, ServedLogError, "set RECSYS_ENCRYPTION_KEYS|does not open")
    refuses(lambda: open_store(home), StoreError, "set RECSYS_ENCRYPTION_KEYS")


def refuses(call: Callable[[], object], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words) as told:
        call()
    assert "\n" not in str(told.value)


def test_a_record_of_the_journal_that_was_altered_or_moved_is_told(home: Settings) -> None:
    store = open_store(home)
    journal = store.journal
    with journal._transaction(write=True) as (_, transaction):  # type: ignore[attr-defined]
        cursor = transaction.cursor()
        assert cursor.last()
        last, value = cursor.item()
        assert cursor.prev()
        transaction.put(cursor.key(), value)  # another record's, whole
    with pytest.raises(StoreError, match="was altered"):
        store.tail(0)
    assert last
    store.close()


def test_a_file_that_holds_no_keys_is_refused_by_its_line(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    for text, words in (
        ("", "no key"),
        ("one 1234\n", "line 1 is no key"),
        (f"one {'0' * 64}\none {'1' * 64}", "line 2 is no key of a new name"),
        ("\xff", "no key"),
    ):
        file.write_text(text)
        refuses(lambda: from_environment({"RECSYS_ENCRYPTION_KEYS": str(file)}), SettingsError, words)
    refuses(lambda: from_environment({"RECSYS_ENCRYPTION_KEYS": str(tmp_path)}), SettingsError, "cannot be read")
