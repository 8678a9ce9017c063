"""The service on a float network: `python -m efq.benchmarks.serving.float_service ARTIFACT TEACHER.onnx`.

All but the network is the artifact's service: queue, routes, limits. TEACHER.onnx is what `export_teacher` writes, in
ONNX Runtime. Such a service is only measured, never deployed: its probe is not looked at.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from efq.benchmarks.peers.onnxruntime import OnnxRuntimePeer
from efq.benchmarks.peers.peer import unit_length
from efq.runtime.artifact.folder import Artifact
from efq.runtime.faces.batch import check_images
from efq.runtime.faces.normalization import Normalization
from efq.runtime.service.app import create_app
from efq.runtime.service.engine import FaceEngine
from efq.runtime.service.process.server import listen, serve
from efq.runtime.service.settings import Limits, ServiceSettings


class FloatEmbedder:
    """What the service uses of an `Embedder`, of a float network that takes the artifact's images."""

    backend = "onnxruntime"

    def __init__(self, artifact: Artifact, network: Path, normalization: Normalization) -> None:
        self.artifact = artifact
        self.contract = artifact.manifest.input
        self.manifest = artifact.manifest
        self.embedding_size = artifact.manifest.embedding_size
        self._peer = OnnxRuntimePeer("float", network, normalization, threads=1)

    def embed(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """As `Embedder.embed`, checks included."""
        check_images(images, self.contract)
        return unit_length(self._peer.run(self._peer.prepare(images)))

    def check_probe(self) -> None:
        """It has another network's embedding."""

    def close(self) -> None:
        self._peer.close()


def main() -> None:
    """Serve until a signal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("network", type=Path)
    parser.add_argument("normalization", help="As JSON: {mean, std}.")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--port", type=int, default=0)
    chosen = parser.parse_args()
    limits = dataclasses.replace(Limits(), batch=chosen.batch)
    settings = ServiceSettings(directory=chosen.artifact, threads=chosen.threads, limits=limits)
    normalization = Normalization(**json.loads(chosen.normalization))
    embedder: Any = FloatEmbedder(Artifact.open(chosen.artifact), chosen.network, normalization)
    engine = FaceEngine(settings, embedder)
    listening = listen("127.0.0.1", chosen.port)
    app = create_app(settings, engine=engine)
    address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    serve(app, listening, drain=5, drain_delay=0, started=lambda: print(f"serving at {address}", flush=True))
    engine.close()


if __name__ == "__main__":
    main()
