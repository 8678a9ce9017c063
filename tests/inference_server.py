"""A server of the Open Inference Protocol, written from its specification alone, with a model.onnx in ONNX Runtime.

It stands for Triton and OpenVINO Model Server, which are no Python packages: nothing of EFQ's reads or writes its
messages. Faults, of which each is of the next request to infer, are in `faults`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

TYPES = {"tensor(uint8)": ("UINT8", "<u1"), "tensor(float)": ("FP32", "<f4")}


@dataclasses.dataclass
class Model:
    """What is served. told: of the metadata, what is changed; change: of the rows, before they are sent."""

    path: Path
    name: str = "faces"
    version: str = "1"
    server: dict[str, Any] = dataclasses.field(
        default_factory=lambda: {"name": "stand-in", "version": "0", "extensions": ["binary_tensor_data"]}
    )
    told: dict[str, Any] = dataclasses.field(default_factory=dict)
    change: Callable[[np.ndarray], np.ndarray] = lambda rows: rows
    faults: list[str] = dataclasses.field(default_factory=list)
    asked: list[str] = dataclasses.field(default_factory=list)
    connections: int = 0
    api_key: str | None = None

    def __post_init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(self.path), options)

    def metadata(self) -> dict[str, Any]:
        ports = {}
        for key, found in (("inputs", self.session.get_inputs()), ("outputs", self.session.get_outputs())):
            ports[key] = [
                {
                    "name": port.name,
                    "datatype": TYPES[port.type][0],
                    "shape": [size if isinstance(size, int) else -1 for size in port.shape],
                }
                for port in found
            ]
        return {"name": self.name, "versions": [self.version], "platform": "onnx", **ports, **self.told}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    model: Model

    def setup(self) -> None:
        super().setup()
        self.model.connections += 1

    def log_message(self, format: str, *args: object) -> None: ...

    def do_GET(self) -> None:
        self.model.asked.append(self.path)
        if not self.allowed():
            return
        if self.path == "/v2":
            self.answer(200, self.model.server)
        elif self.path in (f"/v2/models/{self.model.name}", f"/v2/models/{self.model.name}/versions/1"):
            self.answer(200, self.model.metadata())
        else:
            self.answer(404, {"error": "no such model\nhere"})

    def do_POST(self) -> None:
        self.model.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        fault = self.model.faults.pop(0) if self.model.faults else ""
        if fault == "drop":
            self.close_connection = True
        elif fault == "half":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")
            self.close_connection = True
        elif fault == "drip":
            with contextlib.suppress(OSError):
                for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
                    self.wfile.write(bytes([byte]))
                    time.sleep(0.02)
            self.close_connection = True
        elif fault == "endless":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n{}")
            self.close_connection = True
        elif fault == "garbage":
            self.answer(200, {"outputs": [{"name": "embeddings", "shape": [1], "datatype": "FP32", "data": [2.0]}]})
        elif fault.isdigit():
            self.answer(int(fault), {"error": "busy"}, {"Retry-After": "0"})
        elif self.allowed():
            self.infer(body)

    def allowed(self) -> bool:
        key = self.model.api_key
        if key is not None and self.headers.get("Authorization") != f"Bearer {key}":
            self.answer(401, {"error": {"code": "unauthorized", "message": "a key is needed"}})
            return False
        return True

    def infer(self, body: bytes) -> None:
        """Requests as the specification has them; data are flat or nested."""
        length = int(self.headers.get("Inference-Header-Content-Length", len(body)))
        request, binary = json.loads(body[:length]), body[length:]
        given = request["inputs"][0]
        port = self.model.session.get_inputs()[0]
        name, code = TYPES[port.type]
        if (given["name"], given["datatype"]) != (port.name, name):
            self.answer(400, {"error": f"unexpected input {given['name']} {given['datatype']}"})
            return
        if "data" in given:
            images = np.array(given["data"], code).reshape(given["shape"])
        else:
            assert given["parameters"]["binary_data_size"] == len(binary)
            images = np.frombuffer(binary, code).reshape(given["shape"])
        if isinstance(port.shape[0], int) and len(images) != port.shape[0]:
            self.answer(400, {"error": f"unexpected batch {len(images)}"})
            return
        (rows,) = self.model.session.run(None, {port.name: images})
        rows = self.model.change(np.asarray(rows))
        asked = request.get("outputs", [{}])[0].get("parameters", {}).get("binary_data", False)
        output = {"name": self.model.session.get_outputs()[0].name, "datatype": "FP32", "shape": list(rows.shape)}
        content = rows.astype("<f4").tobytes() if asked else b""
        output |= {"parameters": {"binary_data_size": len(content)}} if asked else {"data": rows.ravel().tolist()}
        values = {"model_name": self.model.name, "model_version": self.model.version, "outputs": [output]}
        header = json.dumps(values).encode()
        self.answer(200, header + content, {"Inference-Header-Content-Length": str(len(header))} if asked else {})

    def answer(self, status: int, values: dict[str, Any] | bytes, headers: dict[str, str] | None = None) -> None:
        body = values if isinstance(values, bytes) else json.dumps(values).encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        self.open: set[Any] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self.open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End the connections that clients keep open."""
        for request in list(self.open):
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def serving(model: Model, port: int = 0) -> Iterator[str]:
    """Serve on a port of the loopback, a free one for 0: its address."""
    handler = type("ModelHandler", (Handler,), {"model": model})
    with Server(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            server.hang_up()
            thread.join(10)
