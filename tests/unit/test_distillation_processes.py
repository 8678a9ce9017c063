"""One process alone, and two under torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from messages import raises_naming
from networks import make_teacher

from efq.runtime.errors import DeviceError
from efq.toolchain.distillation.processes import Processes, join_processes, leave_processes
from efq.toolchain.student import load_student

SCRIPT = """
import hashlib, json, logging, os, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from networks import TEACHER, make_faces
from efq.runtime.console import progress
from efq.toolchain.distillation import distill
from efq.toolchain.recipes.recipe import Recipe
from efq.toolchain.teachers import open_teacher

folder = Path(sys.argv[1])
recipe = Recipe(
    name="tiny", activation="relu", steps=4, float_share=0.5, identities_per_batch=4, metric_weight=1.0,
)
teacher = open_teacher(folder / "teacher.pt", TEACHER)
logging.basicConfig(level=logging.INFO, format="%(message)s")
student = distill(teacher, make_faces(), recipe, folder / "student.pt", progress=progress)
logging.getLogger("efq.toolchain").info("finished")
digest = hashlib.sha256()
for key, value in sorted(student.network.state_dict().items()):
    digest.update(value.contiguous().numpy().tobytes())
(folder / f"rank{os.environ['RANK']}.json").write_text(json.dumps({"weights": digest.hexdigest()}))
"""


def test_alone() -> None:
    processes = join_processes("cpu")
    assert (processes.rank, processes.world_size, processes.leads) == (0, 1, True)
    values = torch.randn(3, 2)
    assert processes.gather(values) is values
    leave_processes()
    assert not Processes(rank=1, world_size=2, device=torch.device("cpu")).leads


def test_a_device_that_is_not_there() -> None:
    for device in ("tpu", "cuda:99" if not torch.cuda.is_available() else "mps"):
        with raises_naming(DeviceError, repr(device), "cpu"):
            join_processes(device)


@pytest.mark.slow
def test_two_processes_agree(tmp_path: Path) -> None:
    make_teacher(tmp_path / "teacher.pt")
    (tmp_path / "run.py").write_text(SCRIPT)
    tests = str(Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": tests, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    result = subprocess.run(
        [*launch, str(tmp_path / "run.py"), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert ranks[0] == ranks[1]
    student = load_student(tmp_path / "student.pt")
    assert student.training["processes"] == 2
    lines = result.stderr.splitlines()
    assert sum("32/32 images" in line for line in lines) == 1
    assert sum("quantizers" in line and "step" in line for line in lines) == 1
    assert lines.count("finished") == 2
