"""The fuzzer of artifacts, in short: python tests/scripts/fuzz_artifacts.py goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from text_mutations import text_cases


def test_texts_are_read_or_refused_in_words(tmp_path: Path) -> None:
    cases = dict(text_cases(60, 0, tmp_path))
    assert set(cases.values()) == {"read", "refused"}, [case for case in cases.items() if case[1].startswith("HOLE")]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked and limited as on Linux")
def test_models_are_served_or_refused_in_words(tmp_path: Path) -> None:
    """In a process of its own, as its others have threads."""
    script = Path(__file__).parents[1] / "scripts" / "fuzz_artifacts.py"
    command = [sys.executable, str(script), "models", "--count", "20", "--seed", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "served" in done.stdout
