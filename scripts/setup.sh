#!/bin/sh
# Creates .venv from the lock. Safe to run again: an interrupted run starts over.
set -eu
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"

"$python" - <<'PY' || exit 1
import sys
if not (3, 11) <= sys.version_info[:2] < (3, 15):
    sys.exit(f"blox needs Python 3.11 to 3.14; {sys.executable} is "
             f"{sys.version_info[0]}.{sys.version_info[1]}. "
             "Choose another: make setup PYTHON=/path/to/python3.12")
PY
if ! "$python" -c "import venv, ensurepip" 2>/dev/null; then
    echo "This Python cannot make virtual environments." >&2
    echo "On Debian and Ubuntu: apt-get install python3-venv" >&2
    exit 1
fi

echo "setting up .venv (about a minute; needs the Python package index once)"
rm -rf .venv
"$python" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
    --require-hashes -r requirements/lock.txt
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps \
    --no-build-isolation --editable .
touch .venv/.complete
echo "done: .venv/bin/blox --help"
