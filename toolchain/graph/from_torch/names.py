"""The names of a student's layers: those of the network's own, and torch.fx's for the functions that it calls."""

from __future__ import annotations

from torch import fx, nn

from efq.toolchain.graph.from_torch.calls import layer_of, operation_of

_ALIASES = {"slice": "getitem", "select": "getitem", "index": "getitem"}
_WEIGHTED = ("conv2d", "linear", "batch_norm", "prelu")


class Names:
    """One name for each call, as torch.fx names nodes: a function by its name and how many were before it."""

    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        self._modules = {name for name, _ in network.named_modules() if name}
        self._parents = {name for name, module in network.named_modules() if next(module.children(), None) is not None}
        self._taken: set[str] = set()
        self._calls: dict[fx.Node, str] = {}
        self._called: dict[str, str] = {}
        self._name_calls(graph)

    def layer(self, node: fx.Node) -> str:
        """A free name for the operation that `node` becomes."""
        path = self._own_path(node)
        if not path:
            return self.free(self._calls[node])
        if path not in self._taken:
            return self._take(path)
        key = layer_of(node)[0]
        if self._called.get(path, key) == key:
            return self.free(f"{path}_{operation_of(node)}")
        return self.free(f"{path}_for_{self._calls[node]}")

    def beside(self, node: fx.Node, suffix: str) -> str:
        """A free name for another operation of `node`."""
        return self.free(f"{self._own_path(node) or self._calls[node]}_{suffix}")

    def free(self, name: str) -> str:
        """`name`, or where a layer has it already `name` with a number behind."""
        found, count = name, 0
        while found in self._taken or found in self._modules:
            count += 1
            found = f"{name}_{count}"
        return self._take(found)

    def _take(self, name: str) -> str:
        self._taken.add(name)
        return name

    def _own_path(self, node: fx.Node) -> str:
        """The path of the module that is the operation; empty for one that a function is called for."""
        _, path, kind = layer_of(node)
        if path in self._parents and not kind.startswith("torch.nn.utils.parametrize."):
            return ""
        return path if kind.startswith("torch.nn.") or operation_of(node) in _WEIGHTED else ""

    def _name_calls(self, graph: fx.Graph) -> None:
        taken: set[str] = set()
        counts: dict[str, int] = {}
        before = ""
        for node in graph.nodes:
            if node.op != "call_function":
                continue
            key, path = layer_of(node)[0], self._own_path(node)
            if (path and key == before) or _is_one_slice(node, node.prev):
                self._calls[node] = self._calls[node.prev]
                continue
            before = key if path else ""
            if path:
                self._called.setdefault(path, key)
            operation = operation_of(node)
            name = path.replace(".", "_") if path else _ALIASES.get(operation, operation)
            found, count = name, counts.get(name, 0)
            while found in taken:
                count += 1
                found = f"{name}_{count}"
            counts[name] = count
            taken.add(found)
            self._calls[node] = found


def _is_one_slice(node: fx.Node, before: fx.Node) -> bool:
    """Whether both are of one x[a, b, c], of which torch makes a call for each axis."""
    sliced = all(_ALIASES.get(operation_of(call)) and call.op == "call_function" for call in (node, before))
    return sliced and before in node.all_input_nodes and node.meta.get("stack_trace") == before.meta.get("stack_trace")
