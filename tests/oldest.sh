#!/usr/bin/env bash
# Runs the tests of what serves artifacts, and of what writes them, on the oldest versions that pyproject.toml allows,
# on this CPU and as on one without VNNI:
#
#   [OLDEST_VENV=.venv-oldest] tests/oldest.sh [TEST...]
#
# The oldest torch is its CUDA build: some gigabytes the first time.
set -euo pipefail
cd "$(dirname "$0")/.."
export VENV=${OLDEST_VENV:-.venv-oldest}  # tests/avx2/run.sh reads it
tests=("$@")
[ $# -gt 0 ] || tests=(tests/unit/test_runtime_*.py tests/unit/test_export_*.py tests/unit/test_student.py
    tests/e2e/test_e{mbed,xport,valuate}_command.py tests/parity tests/stress)

[ -d "$VENV" ] || "${PYTHON:-python3}" -m venv "$VENV"
"$VENV/bin/python" - >"$VENV/oldest.txt" <<'PYTHON'
import re, tomllib
from pathlib import Path
project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
wanted = [*project["dependencies"], *project["optional-dependencies"]["train"], *project["optional-dependencies"]["openvino"]]
print(*(re.sub(">=", "==", requirement) for requirement in wanted), sep="\n")
PYTHON
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check "$(grep '^torch==' "$VENV/oldest.txt")"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -c "$VENV/oldest.txt" -e '.[train,openvino]' \
    "pytest>=8.2" "pytest-randomly>=3.15" "hypothesis>=6.100"
sed 's/^/  /' "$VENV/oldest.txt"
echo "on this CPU:"
"$VENV/bin/pytest" --quiet "${tests[@]}"
echo "as on a CPU with AVX2 and without VNNI:"
tests/avx2/run.sh "$VENV/bin/pytest" --quiet "${tests[@]}"
