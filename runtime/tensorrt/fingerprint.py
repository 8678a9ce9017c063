"""What a plan was built with and for, kept beside it: a plan is a cache of its ONNX model, good for one place only."""

from __future__ import annotations

import dataclasses
import json
from typing import Self

from efq.runtime.errors import EngineError, UsageError
from efq.runtime.reading import parse_json
from efq.runtime.tensorrt.build.options import BuildOptions

_LEAST_AMPERE = (8, 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineMachine:
    """Where an engine is to run: versions of TensorRT and of the driver's CUDA ("13.0"), GPU and capability ("8.6")."""

    version: str
    cuda: str
    gpu: str
    compute_capability: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What a plan was built with.

    target: "trt" or "trt-rtx". version: of TensorRT. cuda, gpu: of the machine it was built on; None for an engine
    built ahead of time. compute_capabilities: of that GPU, or those it was built for; empty means every one the
    package supports. onnx_sha256, plan_sha256: of the model and of the plan.
    """

    target: str
    version: str
    cuda: str | None
    gpu: str | None
    compute_capabilities: tuple[str, ...]
    onnx_sha256: str
    plan_sha256: str
    options: BuildOptions

    def to_json(self) -> str:
        """Canonical JSON with a newline at the end."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values |= {"options": self.options.to_dict(), "compute_capabilities": list(self.compute_capabilities)}
        return json.dumps(values, sort_keys=True, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Parse `to_json`'s text. Raises EngineError for keys or values that do not fit."""
        values = parse_json(text, "the fingerprint of an engine", error_class=EngineError)
        names = {field.name for field in dataclasses.fields(cls)}
        try:
            if not isinstance(values, dict) or set(values) != names:
                message = f"no object with the keys {', '.join(sorted(names))}"
                raise UsageError(message)
            capabilities, options = values.pop("compute_capabilities"), BuildOptions.from_dict(values.pop("options"))
            texts = [value for name, value in values.items() if name not in ("cuda", "gpu") or value is not None]
            if not isinstance(capabilities, list) or not all(isinstance(text, str) for text in (*texts, *capabilities)):
                message = "values of other types"
                raise UsageError(message)
        except UsageError as error:
            message = f"expected the fingerprint of an engine, found something else ({error}); build the engine again"
            raise EngineError(message) from error
        return cls(**values, options=options, compute_capabilities=tuple(capabilities))

    def differences(self, machine: EngineMachine, onnx_sha256: str) -> tuple[str, ...]:
        """What keeps the plan from being loaded on `machine` for the model of that hash, a line each."""
        found = []
        if self.onnx_sha256 != onnx_sha256:
            found.append(f"built from the model {self.onnx_sha256[:12]}, the artifact's is {onnx_sha256[:12]}")
        if not self._fits_version(machine.version):
            found.append(f"built by TensorRT {self.version}, here is {machine.version}")
        if not self._fits_gpu(machine):
            built_for = self.gpu or ", ".join(self.compute_capabilities)
            capabilities = "" if self.gpu is None else f" ({', '.join(self.compute_capabilities)})"
            found.append(f"built for {built_for}{capabilities}, here is {machine.gpu} ({machine.compute_capability})")
        if self.cuda is not None and _major(self.cuda) > _major(machine.cuda):
            found.append(f"built with CUDA {self.cuda}, the driver here has {machine.cuda}")
        return tuple(found)

    def _fits_version(self, version: str) -> bool:
        if self.options.version_compatible:
            return _numbers(version) >= _numbers(self.version)
        return version == self.version

    def _fits_gpu(self, machine: EngineMachine) -> bool:
        if self.options.hardware_compatible:
            return _numbers(machine.compute_capability) >= _LEAST_AMPERE
        if self.gpu is not None:
            return (self.gpu, self.compute_capabilities) == (machine.gpu, (machine.compute_capability,))
        return not self.compute_capabilities or machine.compute_capability in self.compute_capabilities


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isascii() and part.isdigit() and len(part) < 10)


def _major(version: str) -> int:
    return (*_numbers(version), 0)[0]
