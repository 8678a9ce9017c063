"""The clock that people set is read for dates and for what other machines say; what passes is counted by the other."""

from __future__ import annotations

import ast
from pathlib import Path

RUNTIME = Path(__file__).parents[2] / "runtime"
SET_BY_PEOPLE = {("time", "time"), ("time", "time_ns"), ("datetime", "now"), ("datetime", "utcnow"), ("date", "today")}
DATES = {
    "gallery/stores/sqlite/store.py": "when a face was enrolled",
    "gallery/stores/qdrant/changing.py": "the same, and how long other clients have been silent, by an hour",
    "gallery/stores/qdrant/journal.py": "when a client was last there, for other machines",
    "open_inference/connections.py": "Retry-After as a date, within the time that a call has left",
    "service/process/logs.py": "when a line was logged",
}


def calls(path: Path) -> set[tuple[str, str]]:
    """The functions called as attributes: the last name of what they are of, and theirs."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            found.add((name, node.func.attr))
    return found


def test_a_clock_that_jumps_is_read_for_dates_only() -> None:
    found = {
        path.relative_to(RUNTIME).as_posix() for path in sorted(RUNTIME.rglob("*.py")) if calls(path) & SET_BY_PEOPLE
    }
    assert found == set(DATES)
