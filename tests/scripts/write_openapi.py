"""Write docs/openapi.json, the description of the service's API, from its routes."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

SNAPSHOT = Path(__file__).parents[2] / "docs" / "openapi.json"


def description() -> dict[str, Any]:
    """What the service says of itself, whatever it serves; without the version, which is the package's."""
    from artifacts import make_artifact
    from services import app_of

    with tempfile.TemporaryDirectory() as folder, app_of(make_artifact(Path(folder) / "artifact")) as app:
        found: dict[str, Any] = app("GET", "/openapi.json").json()
    found["info"]["version"] = "0"
    return found


def text() -> str:
    """The file."""
    return json.dumps(description(), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(text(), encoding="utf-8")
    print(f"wrote {SNAPSHOT}")
