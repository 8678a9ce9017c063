"""Write a network as a graph of the operations EFQ knows, whatever its code calls them.

Requires: a feed-forward network, one input, without control flow on tensor values. Ensures: a graph of module calls
only, of `efq.toolchain.graph.operations`, BatchNorm as ChannelAffine, PReLU as nn.PReLU; the float function is
unchanged to rounding, and to a positive factor for each image where the network normalizes its embeddings.
"""

from __future__ import annotations

from torch import fx, nn

from efq.runtime.errors import LoweringError
from efq.toolchain.graph.from_torch.context import Context
from efq.toolchain.graph.from_torch.conversion import convert
from efq.toolchain.graph.from_torch.exporting.export import export_network
from efq.toolchain.graph.from_torch.names import Names
from efq.toolchain.graph.from_torch.reading import Reader
from efq.toolchain.graph.from_torch.rewrites.affines_before_selections import affines_before_selections
from efq.toolchain.graph.from_torch.rewrites.fold_uneven_pools import fold_uneven_pools
from efq.toolchain.graph.from_torch.rewrites.maps_instead_of_features import maps_instead_of_features
from efq.toolchain.graph.from_torch.rewrites.merge_affines import merge_affines
from efq.toolchain.graph.from_torch.rewrites.recognize_activations import recognize_activations
from efq.toolchain.graph.from_torch.student_graph import StudentGraph, shape_of
from efq.toolchain.graph.operations import OPERATIONS
from efq.toolchain.graph.source_lines import described

_CHANNELS = 3
_REWRITES = (
    maps_instead_of_features,
    recognize_activations,
    affines_before_selections,
    merge_affines,
    fold_uneven_pools,
)


def trace(
    network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], *, height: int = 112, width: int = 112
) -> fx.GraphModule:
    """A lowered float graph that takes uint8 (N, height, width, 3) images: ImageInput, the normalization, `network`.

    Raises LoweringError naming the layer or the line of code when the network cannot be followed, or holds an operation
    without an integer form.
    """
    exported = export_network(network, height, width)
    names = Names(network, exported.graph)
    graph = StudentGraph(names, exported.image_name)
    image = graph.image(mean, std, (_CHANNELS, height, width))
    embedding = convert(exported, Context(graph, Reader(graph), exported.batch), image)
    result = graph.finish(embedding)
    for rewrite in _REWRITES:
        rewrite(result)
    _refuse_leftovers(result)
    result.graph.eliminate_dead_code()
    result.delete_all_unused_submodules()
    result.recompile()
    result.requires_grad_(True)
    return result.eval()


def _refuse_leftovers(network: fx.GraphModule) -> None:
    for node in network.graph.nodes:
        if node.op != "call_module":
            continue
        module = network.get_submodule(str(node.target))
        if isinstance(module, nn.AdaptiveAvgPool2d):
            shape, wanted = shape_of(node.all_input_nodes[0]), shape_of(node)
            message = (
                f"{described(node, network)} makes {(1, *wanted)} of {(1, *shape)} with windows of several sizes: "
                "expected a size that divides that of its maps"
            )
            raise LoweringError(message)
        if not isinstance(module, OPERATIONS):
            message = f"{described(node)} has no integer form where it stands: {module}"
            raise LoweringError(message)
        if len(set(node.args)) < len(node.args):
            message = f"{described(node)} reads one tensor twice, which has no integer form: give it two"
            raise LoweringError(message)
