"""The machine description."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from messages import names

from efq.benchmarks.report.notes import other_work
from efq.benchmarks.timing.machine import busy_cores, describe_machine


def test_this_machine_can_be_described_as_json() -> None:
    machine = describe_machine()
    assert machine.cores >= 1
    assert {"numpy", "onnxruntime"} <= set(machine.packages)
    assert json.loads(json.dumps(machine.to_dict()))["cpu"] == machine.cpu


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/stat, which only Linux has")
def test_work_of_another_process_is_seen() -> None:
    endless = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    with subprocess.Popen(endless, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        busy = busy_cores(0.5)
        other.kill()
    assert busy is not None
    assert busy > 0.5


def test_a_report_says_when_other_work_ran() -> None:
    assert other_work(None, None) == other_work(0.1, None) == other_work(0.0, 0.2) == []
    (note,) = other_work(0.1, 1.04)
    names(note, "1.0 cores")
