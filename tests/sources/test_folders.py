"""Any folder of logs: the rows of a plain reader, written from docs/files.md, or a sentence. RECSYS_FUZZ=2000: all."""

import os

import pytest

from recsys.sources.files import Files
from recsys.sources.source import SourceError
from tests.sources import folders, plain_reader

SEEDS = int(os.environ.get("RECSYS_FUZZ", "150"))
GROUPS = 10
UNSAID = {"position", "event_key"}


def rows_of(source):
    items, users = source.items().to_pylist(), source.users().to_pylist()
    days = [source.read_day(day) for day in source.days()]
    events = source.events().to_dicts()
    assert sum(day.events.num_rows for day in days) >= len(events)
    refused = [sum(day.rejected.num_rows for day in days)]
    refused += [source.refused(table).num_rows for table in ("items", "users")]
    assert sum(day.rows_read for day in days) == len(events) + refused[0]
    return [{k: v for k, v in e.items() if k not in UNSAID} for e in events], items, users, tuple(refused)


def compare(folder):
    """What differs; None where nothing does."""
    try:
        right = plain_reader.read(folder)
    except plain_reader.Refused:
        right = None
    try:
        ours = rows_of(Files(folder))
    except SourceError as error:
        sentence = str(error)
        return None if right is None and "\n" not in sentence else f"refused: {sentence}"
    if right is None:
        return f"read, though to be refused: {ours[3]}"
    for name, mine, other in zip(("events", "items", "users"), ours, right, strict=False):
        if len(mine) != len(other):
            return f"{name}: {len(mine)} rows, and {len(other)} by the page"
        for a, b in zip(mine, other, strict=True):
            a = {k: v for k, v in a.items() if k in b}
            if name == "events" and b["event_id"] is None:  # a hash of the row
                assert len(a.pop("event_id")) == len(b.pop("event_id") or 32 * "-")
            if a != b:
                return f"{name}: " + ", ".join(f"{k}: {a.get(k)!r} is not {b[k]!r}" for k in b if a.get(k) != b[k])
    return None if ours[3] == right[3] else f"refused {ours[3]}, and {right[3]} by the page"


@pytest.mark.parametrize("group", range(GROUPS))
def test_a_folder_is_read_as_the_page_says_or_refused_in_one_sentence(tmp_path, group):
    wrong = {}
    for seed in range(group, SEEDS, GROUPS):
        folder = tmp_path / str(seed)
        folder.mkdir()
        folders.make(folder, seed)
        try:
            difference = compare(folder)
        except Exception as error:
            difference = f"{type(error).__name__}: {error}"
        if difference:
            wrong[seed] = difference
    assert not wrong, "\n".join(f"{seed}: {words}" for seed, words in wrong.items())
