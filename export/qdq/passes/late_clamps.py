"""The top of a narrow grid clamped once behind an exact PReLU instead of in front of it.

Exact PReLU is max(x, a * x) with both operands on one grid, whose top T is the largest integer that b bits hold. Bytes
above T may be left in x and in a * x: where x > T, the clamped maximum of both is T, as it is with x clamped to T;
where x <= T nothing has changed but a product above T, and the clamped maximum ends that at T, too. So, for every a,
min(max(x, a * x), T) = max(min(x, T), min(a * min(x, T), T)): one pass over the tensor instead of two.

Requires: clamps behind narrow quantizers; nothing else reads x or a * x. Ensures: what the maximum gives is bit for bit
the same.
"""

from __future__ import annotations

from torch import fx

from efq.export.qdq.passes.clamp_narrow_grids import Clamp
from efq.export.qdq.passes.exact_prelus import exact_prelus
from efq.export.qdq.passes.graph_pass import GraphPass
from efq.runtime.artifact.contract import InputContract
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.traversal import insert_behind, module_of, remove


def late_clamps(network: fx.GraphModule, contract: InputContract) -> PassResult:
    """Move in place; how many maxima are clamped now."""
    moved = 0
    for maximum, prelu in exact_prelus(network).items():
        clamp = module_of(network, prelu.first)
        if isinstance(clamp, Clamp):
            insert_behind(network, maximum, f"{maximum.name}_clamp", Clamp(clamp.bits))
            remove(network, prelu.first)
            remove(network, prelu.second)
            moved += 1
    return PassResult(changed=moved)


LATE_CLAMPS = GraphPass(rewrite=late_clamps)
