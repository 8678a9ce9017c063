"""A tool from outside the tree, offered through the entry points `efq.peers`, stands in a benchmark's report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from artifacts import make_artifact
from extensions import install
from networks import TEACHER, make_teacher

TOOL = '''
import shutil
from pathlib import Path

import numpy as np
import onnxruntime

from efq.benchmarks.peers.tool import Candidate, teacher_spec


class Toy:
    """Deploys the float teacher as it is."""

    name = "toy"

    def require(self):
        pass

    def candidates(self, teacher, calibration, folder):
        assert calibration.dtype == np.uint8 and calibration.shape[1:] == (112, 112, 3)
        path = Path(shutil.copy(teacher.path, folder / "toy.onnx"))
        yield Candidate(spec=teacher_spec(teacher, "toy float32", self.name, path), opener=self, description="a toy")

    def open(self, spec, threads):
        return Opened(spec, threads)


class Opened:
    def __init__(self, spec, threads):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.name = spec.name
        self.file_bytes = Path(spec.path).stat().st_size
        self.prepare = spec.normalization
        self.session = onnxruntime.InferenceSession(spec.path, options, providers=["CPUExecutionProvider"])

    def run(self, prepared):
        return self.session.run(None, {"images": prepared})[0]

    def embed(self, images):
        raw = self.run(self.prepare(np.asarray(images)))
        return raw / np.linalg.norm(raw, axis=1, keepdims=True)

    def close(self):
        pass


TOY = Toy()
'''

BENCH = """
import sys
from pathlib import Path

from efq.benchmarks import BenchConfig, run_bench
from efq.benchmarks.report.report import write_report

artifact, teacher, backbone, output = sys.argv[1:]
config = BenchConfig(
    artifacts=(Path(artifact),), teacher=Path(teacher), backbone=backbone, peers=True, tools=("toy",), rounds=10
)
write_report(Path(output), run_bench(config).results, curves={}, cosines={})
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a process in which the package is installed, and which finds the tiny teacher's network."""
    found = install(tmp_path / "site", name="toy_peer", code=TOOL, entry_points={"efq.peers": {"toy": "toy_peer:TOY"}})
    found["PYTHONPATH"] += os.pathsep + str(Path(__file__).parents[1])
    return found | {"EFQ_CACHE": str(tmp_path / "cache")}


def test_a_tool_from_outside_is_compared_like_one_of_our_own(tmp_path: Path, environment: dict[str, str]) -> None:
    teacher = make_teacher(tmp_path / "teacher.pt")
    artifact, output = make_artifact(tmp_path / "artifact"), tmp_path / "out"
    output.mkdir()
    command = [sys.executable, "-c", BENCH, str(artifact), str(teacher.path), TEACHER, str(output)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((output / "report.json").read_text(encoding="utf-8"))
    reference, _, toy = report["networks"]
    assert (toy["name"], toy["description"], toy["size_ratio"]) == ("toy float32", "a toy", 1.0)
    assert toy["file_bytes"] == reference["file_bytes"]
    names = [network["name"] for network in report["networks"]]
    assert [network["network"] for network in report["latency"][0]["networks"]] == names
    assert [footprint["network"] for footprint in report["footprints"]] == names  # in processes of their own
    assert "| toy float32" in (output / "report.md").read_text(encoding="utf-8")
