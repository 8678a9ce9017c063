"""A package from outside that extends EFQ through entry points, installed for processes that a test starts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def install(folder: Path, *, name: str, code: str, entry_points: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Write the module `name` and its entry points by group into `folder`; the environment of a process that has it.

    It is what `pip install` leaves: a module beside a .dist-info folder, both on the Python path.
    """
    information = folder / f"{name}-1.0.dist-info"
    information.mkdir(parents=True)
    (folder / f"{name}.py").write_text(code, encoding="utf-8")
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    groups = [
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in points.items())
        for group, points in entry_points.items()
    ]
    (information / "entry_points.txt").write_text("\n".join(groups), encoding="utf-8")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path}
