"""What the doctor says of OpenVINO."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from efq.export.targets import TARGETS
from efq.runtime import doctor
from efq.runtime.backends.saturation import products_saturate
from efq.runtime.doctor_command import main


def test_every_target_has_a_report() -> None:
    assert {report.target for report in doctor.examine().targets} == set(TARGETS)


def test_openvino_runs_where_it_is_installed_and_products_are_exact() -> None:
    pytest.importorskip("openvino")
    assert doctor.examine().target("openvino").runs is not products_saturate()


def test_openvino_does_not_run_where_products_saturate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "products_saturate", lambda: True)
    result = CliRunner().invoke(main, ["openvino"])
    assert result.exit_code == 4
    assert "openvino: does not run here" in result.stdout
    assert "only artifacts of efq-export --reduce-range run" in result.stdout
    assert CliRunner().invoke(main, ["ort-cpu"]).exit_code == 0
