"""What embeddings are of, as their model says."""

from __future__ import annotations

from efq.runtime.artifact.folder import MODEL_FILE, Artifact
from efq.runtime.gallery.record import EmbeddingModel


def model_of(artifact: Artifact) -> EmbeddingModel:
    """The model that an artifact's embeddings are of."""
    return EmbeddingModel(
        sha256=artifact.checksums[MODEL_FILE],
        name=artifact.manifest.name,
        embedding_size=artifact.manifest.embedding_size,
    )
