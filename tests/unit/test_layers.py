"""What a layer must not bring with it, found by importing it."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
names = [module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(len(names))
assert "torch" not in sys.modules, sorted(name for name in names)
"""


@pytest.mark.parametrize("package", ["efq.toolchain.data", "efq.toolchain.evaluation"])
def test_numpy_only(package: str) -> None:
    """Faces are read and figures computed without torch: the package loads whole in a process without it."""
    done = subprocess.run([sys.executable, "-c", CODE, package], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 5
