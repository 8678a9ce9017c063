"""LiteRT on the CPU, with XNNPACK's kernels (docs/litert.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.runtime.artifact.contract import InputContract
from efq.runtime.backends.model import (
    INPUT_NAME,
    OUTPUT_NAME,
    Port,
    check_port,
    part_size,
    read_model,
    runtime_failure,
    thread_count,
)
from efq.runtime.backends.threads.lifetime import Lifetime
from efq.runtime.backends.threads.workers import Workers
from efq.runtime.faces.interface import USUAL, Interface
from efq.runtime.litert.model_check import check_litert
from efq.runtime.litert.module import NAME, import_litert
from efq.runtime.machine.cpu import cpus_to_bind
from efq.runtime.machine.forks import loading


class LiteRtModel:
    """A .tflite file loaded in LiteRT; `run` may be called from several threads at once.

    The file is of one image: a batch is computed by all threads, each image by one. There is an interpreter for each
    call at once, made when it is first needed: it holds the weights once more, in the order its kernels read them.
    """

    name = NAME

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None,
        reduced_range: bool = False,
        content: bytes | None = None,
        interface: Interface = USUAL,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        """Load the .tflite file at `path`, or its `content`; `threads` None uses every usable CPU.

        `reduced_range` (weights of 7 bits) changes nothing, as weights of 8 bits are exact too; `interface` is the
        usual one, for others are not written. `metadata`: that of the artifact's model.onnx.
        Raises IncompatibleArtifactError when the file is none of EFQ's or none that this LiteRT can load,
        MissingDependencyError without LiteRT, DeviceError where memory is lacking, UsageError for a thread count below
        one.
        """
        self._path = path
        count = thread_count(threads)
        content = read_model(path) if content is None else content
        check_litert(content, path)
        self._metadata = dict(metadata or {})
        self._lifetime = Lifetime(_Interpreters(content, path))
        self._workers = Workers(count, part_size=part_size(len(content)), cpus=cpus_to_bind(count))

    @property
    def metadata(self) -> Mapping[str, str]:
        """That of the artifact's model.onnx. Raises UsageError once the model is closed."""
        with self._lifetime.call():
            self._lifetime.held()
            return dict(self._metadata)

    def check_signature(self, contract: InputContract, embedding_size: int) -> None:
        """Check names, dtypes and shapes of the file's input and output. Raises IncompatibleArtifactError."""
        image = Port(INPUT_NAME, "uint8", USUAL.image_shape(contract))
        with self._lifetime.call():
            inputs, outputs = self._lifetime.held().ports()
            check_port("input", inputs, image, self._path, batch=1)
            check_port("output", outputs, Port(OUTPUT_NAME, "float32", (embedding_size,)), self._path, batch=1)

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Images uint8 (N, H, W, 3) to embeddings float32 (N, d). Raises UsageError once the model is closed."""
        with self._lifetime.call():
            held = self._lifetime.held()
            if len(images) == 1:
                return held.run(images)
            return self._workers.run(images, held.run)

    def close(self) -> None:
        """Free the interpreters and end the threads. Waits for calls that are running; later ones raise UsageError."""
        if self._lifetime.close():
            self._workers.close()


class _Interpreters:
    """As many as there were calls at once, used again and again."""

    def __init__(self, content: bytes, path: Path) -> None:
        self._content, self._path = content, path
        self._free: list[Any] = [self._new()]

    def ports(self) -> tuple[list[Port], list[Port]]:
        """Inputs and outputs."""
        interpreter = self._take()
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        self._free.append(interpreter)
        return [_port(tensor) for tensor in inputs], [_port(tensor) for tensor in outputs]

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        interpreter = self._take()
        (image,), (embedding,) = interpreter.get_input_details(), interpreter.get_output_details()
        found = np.empty((len(images), embedding["shape"][-1]), np.float32)
        for number in range(len(images)):
            interpreter.set_tensor(image["index"], images[number : number + 1])
            interpreter.invoke()
            found[number] = interpreter.get_tensor(embedding["index"])[0]
        self._free.append(interpreter)
        return found

    def _take(self) -> Any:
        try:
            return self._free.pop()  # of all threads: a list's pop and append are one step each
        except IndexError:
            return self._new()

    def _new(self) -> Any:
        module = import_litert()
        with loading:
            try:
                interpreter = module.Interpreter(model_content=self._content, num_threads=1)
                interpreter.allocate_tensors()
            except Exception as error:  # LiteRT raises ValueError and RuntimeError
                raise runtime_failure(error, runtime="LiteRT", doing="load", place=self._path) from error
            return interpreter


def _port(tensor: Mapping[str, Any]) -> Port:
    return Port(str(tensor["name"]), np.dtype(tensor["dtype"]).name, tuple(int(size) for size in tensor["shape"]))
