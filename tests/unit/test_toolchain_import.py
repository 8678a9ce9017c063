"""What does without torch, all that a command's --help needs among it, leaves it alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

import efq.toolchain
from efq.toolchain.distillation.distill import distill

IMPORTED = [
    *("toolchain", "toolchain.data", "toolchain.evaluation", "toolchain.distill_command", "toolchain.evaluate_command"),
    "toolchain.migrate_command",
    *("export", "export.export_command", "export.inspect_command", "benchmarks", "benchmarks.bench_command"),
]


@pytest.mark.parametrize("module", IMPORTED)
def test_what_needs_no_torch_does_not_import_it(module: str) -> None:
    code = f"import sys, efq.{module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_are_imported_when_they_are_used() -> None:
    assert efq.toolchain.distill is distill
    assert set(efq.toolchain.__all__) <= set(dir(efq.toolchain))
    with pytest.raises(AttributeError, match="missing"):
        efq.toolchain.missing  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError, match="missing"):
        from efq.toolchain import missing  # type: ignore[attr-defined]  # noqa: F401
