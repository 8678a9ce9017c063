"""What fewer than 8 bits are worth on an artifact's target, in the words of the command and of the model card."""

from __future__ import annotations

from efq.export.qdq.writer import PACKED_BITS
from efq.runtime.artifact.manifest import Manifest
from efq.runtime.backends.open import REDUCED_RANGE
from efq.runtime.tensorrt.module import PACKAGES as TENSORRT_TARGETS


def describe_narrow_bits(manifest: Manifest) -> list[str]:
    """Sentences on the bits of an artifact; none where weights and activations both take 8."""
    bits, reduced_range = manifest.bits, manifest.recipe.get(REDUCED_RANGE) is True
    sentences = []
    if manifest.target in TENSORRT_TARGETS:
        if bits["weights"] < 8:
            sentences.append("Weights of fewer than 8 bits lie in int8 tensors here: neither smaller nor faster.")
    elif bits["weights"] <= PACKED_BITS:
        sentences.append(
            f"Weights of {PACKED_BITS} bits or fewer are stored two to a byte: they save size, not time, as bytes are "
            "multiplied."
        )
    elif bits["weights"] < (7 if reduced_range else 8):
        sentences.append("Weights of fewer than 8 bits are carried in bytes: they save neither size nor time.")
    if reduced_range and manifest.target not in TENSORRT_TARGETS:
        sentences.append(
            "No weight has more than 7 bits, -63 to 63 in int8 tensors, so that sums of products do not saturate: x86 "
            "CPUs with and without VNNI compute the same integers, both in their fast kernels."
        )
    if bits["activations"] < 8:
        sentences.append("Activations of fewer than 8 bits are carried and clamped in bytes: they save no time.")
    return sentences
