"""Where the top of a narrow grid is clamped once behind an exact PReLU instead of in front of it.

Exact PReLU is max(x, a * x) with both operands on one grid, whose top T is the largest integer that b bits hold. Bytes
above T may be left in x and in a * x: where x > T, the clamped maximum of both is T, as it is with x clamped to T;
where x <= T nothing has changed but a product above T, and the clamped maximum ends that at T, too. So, for every a,
min(max(x, a * x), T) = max(min(x, T), min(a * min(x, T), T)): one pass over the tensor instead of two.

Requires: nothing else reads x or a * x. Ensures: what the maximum gives is bit for bit the same.
"""

from __future__ import annotations

from torch import fx

from efq.export.qdq.exact_prelus import exact_prelus


def late_clamps(network: fx.GraphModule) -> dict[fx.Node, fx.Node]:
    """For each quantizer call that needs no clamp of its own, the maximum behind which its grid is clamped."""
    late: dict[fx.Node, fx.Node] = {}
    for maximum, prelu in exact_prelus(network).items():
        late |= {prelu.first: maximum, prelu.second: maximum}
    return late
