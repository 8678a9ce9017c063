"""A network that gives its embeddings alone: further outputs are left, 1x1 maps flattened."""

from __future__ import annotations

from torch import Tensor, nn

from efq.toolchain.graph.embedding_output import embedding_of, is_embedding


class EmbeddingOutput(nn.Module):
    """Images to (N, d): the embedding among what `network` returns, which may be (N, d, 1, 1)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        found = embedding_of(self.network(images), len(images))
        assert found is not None
        return found.flatten(1)


def is_bare_embedding(found: object, images: int) -> bool | str:
    """Whether what a network returned for so many images is (N, d) as it stands; a text where it has no embedding."""
    embedding = embedding_of(found, images)
    if embedding is not None and is_embedding(embedding, images):
        return embedding is found and embedding.dim() == 2
    return f"found {tuple(found.shape)}" if isinstance(found, Tensor) else f"found {type(found).__name__}"
