#!/usr/bin/env bash
# Expected: agate, the reader below csvkit, takes a column for a date, a duration or a truth value where it looks like one.
# Happens: hosts called April, May and June are days of the year 1, films in 2D and 3D last two and three days, and counts
# of plays, as long as none is over 1, are False and True. Beside 5, 5% is 5 too and 1,5 is 15. Some other row, Anna or 2
# plays, and the column has another type.
# Matters: nothing warns; csvjson and csvsql write these values and types on, and a column's type is that of the day.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install --quiet --disable-pip-version-check --no-compile --only-binary :all: agate==1.14.2 parsedatetime==2.6 pytimeparse==1.1.10 isodate==0.7.2
cd "$work"
venv/bin/python - <<'PY'
import io
from importlib.metadata import version

import agate

print("agate", version("agate"))


def read(*values):
    table = agate.Table.from_csv(io.StringIO("x,n\n" + "".join(f'"{value}",1\n' for value in values)))
    column = table.columns["x"]
    told = type(column.data_type).__name__, [str(value) for value in column.values()]
    print(f"{values}: {told}")
    return told


assert read("April", "May", "June") == ("Date", ["0001-04-01", "0001-05-01", "0001-06-01"])
assert read("April", "May", "June", "Anna") == ("Text", ["April", "May", "June", "Anna"])
assert read("2D", "3D") == ("TimeDelta", ["2 days, 0:00:00", "3 days, 0:00:00"])
assert read("0", "1", "1") == ("Boolean", ["False", "True", "True"])
assert read("0", "1", "2") == ("Number", ["0", "1", "2"])
assert read("5", "5%", "1,5") == ("Number", ["5", "5", "15"])
PY
