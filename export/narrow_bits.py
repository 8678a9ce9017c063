"""What fewer than 8 bits are worth on a target, in the words of the command and of the model card."""

from __future__ import annotations

from collections.abc import Mapping

from efq.export.qdq_graph import PACKED_BITS
from efq.runtime.tensorrt.module import PACKAGES as TENSORRT_TARGETS


def describe_narrow_bits(bits: Mapping[str, int], target: str, *, reduced_range: bool) -> list[str]:
    """Sentences on `bits` {"weights", "activations"} of an artifact for `target`; none where both are 8.

    `reduced_range`: all weights have 7 bits or fewer (efq.export.reduced_range).
    """
    sentences = []
    if target in TENSORRT_TARGETS:
        if bits["weights"] < 8:
            sentences.append("Weights of fewer than 8 bits lie in int8 tensors here: neither smaller nor faster.")
    elif bits["weights"] <= PACKED_BITS:
        sentences.append(
            f"Weights of {PACKED_BITS} bits or fewer are stored two to a byte: they save size, not time, as bytes are "
            "multiplied."
        )
    elif bits["weights"] < 8 and not reduced_range:
        sentences.append("Weights of fewer than 8 bits are carried in bytes: they save neither size nor time.")
    if reduced_range and target not in TENSORRT_TARGETS:
        sentences.append(
            "No weight has more than 7 bits, so products do not saturate on CPUs without VNNI, and the fast kernels "
            "serve there too; on other CPUs that saves no time, and 7 bits are stored in bytes."
        )
    if bits["activations"] < 8:
        sentences.append("Activations of fewer than 8 bits are carried and clamped in bytes: they save no time.")
    return sentences
