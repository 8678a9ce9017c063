"""The machine description."""

from __future__ import annotations

import json

from efq.benchmarks.machine import describe_machine


def test_this_machine_can_be_described_as_json() -> None:
    machine = describe_machine()
    assert machine.cores >= 1
    assert {"numpy", "onnxruntime"} <= set(machine.packages)
    assert json.loads(json.dumps(machine.to_dict()))["cpu"] == machine.cpu
