"""What LiteRT itself says it ran: its operators, those that XNNPACK took, and the time of each on its own.

LiteRT's Python package gives no profile of a run, so each operator is timed in a file of its own, in the same kernel:
the graph's times are nearly the sum of these, its calls being what is counted again.
"""

from __future__ import annotations

import importlib.metadata
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.export.coverage.evidence import Evidence, ExecutedNode, TensorFact
from efq.export.targets.litert.flatbuffer_file import one_operator
from efq.runtime.backends.model import runtime_failure
from efq.runtime.errors import CoverageError
from efq.runtime.litert.module import import_litert

XNNPACK, LITERT = "xnnpack", "litert"

_DELEGATE = "DELEGATE"
_PRODUCTS = {"CONV_2D": "Conv", "DEPTHWISE_CONV_2D": "Conv", "BATCH_MATMUL": "MatMul", "FULLY_CONNECTED": "MatMul"}
_ELEMENTWISE = {"ADD": "Add", "MAXIMUM": "Max", "MINIMUM": "Min", "MUL": "Mul"}


def collect_litert_evidence(content: bytes, path: Path, *, images: NDArray[Any], runs: int) -> Evidence:
    """Load the .tflite file in `content`, which came from `path`, on one thread, and run it on the first of `images`.

    Times are medians of `runs` after a warm-up. Raises MissingDependencyError without LiteRT,
    IncompatibleArtifactError when it cannot load or run the file, CoverageError where it does not say which operators
    XNNPACK took.
    """
    interpreter = _load(content, path)
    details = interpreter.get_tensor_details()
    tensors = {_key(tensor["index"]): _fact(tensor) for tensor in details}
    names = {int(tensor["index"]): str(tensor["name"]) for tensor in details}
    found = interpreter._get_ops_details()
    operators = [operator for operator in found if operator["op_name"] != _DELEGATE]
    taken = _taken(operators, [operator for operator in found if operator["op_name"] == _DELEGATE])
    nodes = tuple(
        _node(operator, number, names, tensors, taken, _microseconds(content, path, number, runs))
        for number, operator in enumerate(operators)
    )
    (graph_input,) = interpreter.get_input_details()
    _run(interpreter, images[:1], path)
    version = importlib.metadata.version("ai-edge-litert")
    return Evidence(
        nodes=nodes,
        tensors=tensors,
        graph_input=_key(graph_input["index"]),
        batch=1,
        runtime=f"ai-edge-litert {version} CPU, XNNPACK with {len(taken)} of {len(operators)} operators",
    )


def _load(content: bytes, path: Path) -> Any:
    module = import_litert()
    try:
        interpreter = module.Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
    except Exception as error:  # LiteRT raises ValueError and RuntimeError
        raise runtime_failure(error, runtime="LiteRT", doing="load", place=path) from error
    return interpreter


def _run(interpreter: Any, values: NDArray[Any], path: Path) -> None:
    try:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
        interpreter.invoke()
    except Exception as error:  # see _load
        raise runtime_failure(error, runtime="LiteRT", doing="run", place=path) from error


def _taken(operators: Sequence[Mapping[str, Any]], partitions: Sequence[Mapping[str, Any]]) -> set[int]:
    """The numbers of the operators in XNNPACK's partitions: all between what one reads and what it gives."""
    makers = {int(output): number for number, operator in enumerate(operators) for output in operator["outputs"]}
    taken: set[int] = set()
    for partition in partitions:
        given = {int(tensor) for tensor in partition["inputs"]}
        waiting = [int(tensor) for tensor in partition["outputs"]]
        while waiting:
            tensor = waiting.pop()
            if tensor in given or tensor not in makers or makers[tensor] in taken:
                continue
            number = makers[tensor]
            taken.add(number)
            waiting += [int(source) for source in operators[number]["inputs"] if source >= 0]
    if not partitions:
        message = (
            "expected operators that XNNPACK took, found none: LiteRT was built or set up without it, and the report "
            "would be of other kernels"
        )
        raise CoverageError(message)
    return taken


def _node(
    operator: Mapping[str, Any],
    number: int,
    names: Mapping[int, str],
    tensors: dict[str, TensorFact],
    taken: set[int],
    microseconds: float,
) -> ExecutedNode:
    kind = str(operator["op_name"])
    inputs = tuple(_key(tensor) for tensor in operator["inputs"] if tensor >= 0)
    (output,) = operator["outputs"]
    if kind == "DEPTHWISE_CONV_2D":  # (1, *kernel, Cout), which counts as (Cout, 1, *kernel)
        _, *kernel, outputs = tensors[inputs[1]].shape
        tensors[inputs[1]] = TensorFact(dtype=tensors[inputs[1]].dtype, shape=(outputs, 1, *kernel))
    return ExecutedNode(
        name=names[int(output)],
        op_type=_PRODUCTS.get(kind, kind),
        domain=XNNPACK if number in taken else LITERT,
        inputs=inputs,
        outputs=(_key(output),),
        attributes={},
        microseconds=microseconds,
        operations=(_ELEMENTWISE[kind],) if kind in _ELEMENTWISE else (),
    )


def _microseconds(content: bytes, path: Path, number: int, runs: int) -> float:
    """The median of an operator on its own, on zeros."""
    interpreter = _load(one_operator(content, number), path)
    for tensor in interpreter.get_input_details():
        interpreter.set_tensor(tensor["index"], np.zeros(tensor["shape"], tensor["dtype"]))
    times = list(_times(interpreter, runs + 1))
    return statistics.median(times[1:])


def _times(interpreter: Any, runs: int) -> Iterator[float]:
    for _ in range(runs):
        start = time.perf_counter()
        interpreter.invoke()
        yield (time.perf_counter() - start) * 1e6


def _fact(tensor: Mapping[str, Any]) -> TensorFact:
    name = np.dtype(tensor["dtype"]).name
    return TensorFact(dtype="float" if name == "float32" else name, shape=tuple(int(size) for size in tensor["shape"]))


def _key(index: Any) -> str:
    return str(int(index))
