"""Columns of Parquet of every type: read, or left out with a reason, and never an error of a library."""

from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.sources.check import survey
from recsys.sources.files import FILE_COLUMNS, Files
from recsys.sources.source import SourceError

AT = 1793527200000
LEAST = {
    "events": {"kind": ["click"] * 2, "user_id": ["u", "v"], "item_id": ["7", "8"], "occurred_at": [AT, AT]},
    "items": {"item_id": ["7", "8"]},
    "users": {"user_id": ["u", "v"]},
}
TYPES = [
    (pa.int8(), [1, None]),
    (pa.uint64(), [2**64 - 1, None]),
    (pa.int64(), [-(2**63), 2**63 - 1]),
    (pa.float32(), [1.5, float("nan")]),
    (pa.float64(), [float("inf"), -1e308]),
    (pa.decimal128(38, 3), [Decimal("1.5"), Decimal(-(10**30))]),
    (pa.decimal256(76, 0), [Decimal(10) ** 70, None]),
    (pa.bool_(), [True, None]),
    (pa.string(), ["a\nb", "x" * 300]),
    (pa.string_view(), ["1", ""]),
    (pa.binary(), [b"\xff\x00", b"7"]),
    (pa.large_binary(), [b"7", None]),
    (pa.binary_view(), [b"7", b"\xff"]),
    (pa.binary(4), [b"\0\0\0\1", None]),
    (pa.date32(), [2**31 - 1, -(2**31)]),
    (pa.timestamp("s", "UTC"), [253402300799, -62135596800]),
    (pa.timestamp("ms"), [2**62, -(2**62)]),
    (pa.timestamp("us", "-08:00"), [2**62, -(2**62)]),
    (pa.timestamp("ns", "Asia/Kathmandu"), [2**62, -(2**62)]),
    (pa.time32("s"), [1, None]),
    (pa.time64("ns"), [86_399_999_999_999, None]),
    (pa.duration("ms"), [2**62, -(2**62)]),
    (pa.duration("ns"), [2**62, None]),
    (pa.dictionary(pa.int8(), pa.string()), ["a", None]),
    (pa.null(), [None, None]),
    (pa.list_(pa.int32()), [[1, None], []]),
    (pa.list_(pa.float64()), [[float("nan")], None]),
    (pa.list_(pa.bool_()), [[True], []]),
    (pa.list_(pa.binary()), [[b"\xff"], [b"a", None]]),
    (pa.list_(pa.binary(), 1), [[b"\xff"], [b"a"]]),
    (pa.list_(pa.timestamp("us", "+01:00")), [[1], [2]]),
    (pa.list_(pa.duration("s")), [[1], None]),
    (pa.list_(pa.decimal256(50, 1)), [[Decimal("1.0")], None]),
    (pa.list_(pa.list_(pa.int8())), [[[1]], []]),
    (pa.list_(pa.float32(), 2), [[1, 2], None]),
    (pa.struct([("a", pa.binary())]), [{"a": b"\xff"}, None]),
    (pa.map_(pa.string(), pa.timestamp("us", "+01:00")), [[("a", 1)], None]),
]


def refusal(read):
    try:
        read()
    except SourceError as error:
        return str(error)
    return None


@pytest.mark.parametrize("table", FILE_COLUMNS)
@pytest.mark.parametrize(("dtype", "said"), TYPES, ids=[str(dtype) for dtype, _ in TYPES])
def test_a_column_of_any_type_is_read_or_left_out_with_a_reason(tmp_path, table, dtype, said):
    values = pa.array(said, pa.int32()).cast(dtype) if dtype == pa.date32() else pa.array(said, dtype)
    for name, columns in LEAST.items():
        others = [column for column in FILE_COLUMNS[name] if column not in columns] if name == table else []
        pq.write_table(pa.table({**columns, **dict.fromkeys(others, values)}), tmp_path / f"{name}.parquet")
    source = Files(tmp_path)
    assert source.items()["item_id"].to_pylist() == ["7", "8"]
    assert {*source.users()["user_id"].to_pylist()} <= {"u", "v"}  # one of a `valid_from` to come is not there yet
    if (words := refusal(source.events)) is not None:  # no row of the two could be read
        assert table == "events" and "holds no readable event" in words and "of 2, first events.parquet:1: " in words
    else:
        refused = source.read_day(source.first_day()).rejected.num_rows
        assert source.events().height + refused == 2 and survey(source, "2026-12-01").items == 2
    for name in LEAST[table]:  # and where one that must be there is of that type
        pq.write_table(pa.table({**LEAST[table], name: values}), tmp_path / f"{table}.parquet")
        words = refusal(lambda: [read(Files(tmp_path)) for read in (Files.days, Files.items, Files.users)])
        assert words is None or ("holds no readable" in words and "\n" not in words)
