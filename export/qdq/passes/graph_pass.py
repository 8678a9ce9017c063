"""A pass over a student's graph that writes it otherwise for a target, and how the operations it brings are written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Protocol

from torch import fx, nn

from efq.export.qdq.writer import QdqValue, QdqWriter
from efq.runtime.artifact.contract import InputContract
from efq.toolchain.graph.pass_result import PassResult
from efq.toolchain.graph.walker import Call

QdqHandler = Callable[[QdqWriter, Call, list[QdqValue]], QdqValue]
"""Writes one call: from the values it reads to the value it gives."""


class Rewrite(Protocol):
    """The function of a pass; its name is what the log calls the pass."""

    __name__: str

    def __call__(self, network: fx.GraphModule, contract: InputContract, /) -> PassResult: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class GraphPass:
    """`rewrite` changes a graph in place, for images of a contract; `handlers` write the operations it puts there.

    Such operations are never computed in torch, only written. A handler of a kind that is known already replaces the
    former one.
    """

    rewrite: Rewrite
    handlers: Mapping[type[nn.Module], QdqHandler] = dataclasses.field(default_factory=dict)
