"""One process, or one of several that torchrun started."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import Tensor

from efq.toolchain.networks import torch_device


@dataclasses.dataclass(frozen=True, kw_only=True)
class Processes:
    """This process among `world_size`, and the device it computes on."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process logs, shows progress and writes files."""
        return self.rank == 0

    def gather(self, values: Tensor) -> Tensor:
        """Every process's `values` along the first axis, this one's first; without gradient."""
        if self.world_size == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.world_size)]
        dist.all_gather(parts, values.contiguous())
        return torch.cat([values, *[part for rank, part in enumerate(parts) if rank != self.rank]])


@contextlib.contextmanager
def only_the_first_logs(processes: Processes) -> Iterator[None]:
    """What the toolchain logs below warnings is said by the process that leads alone, not by each of them."""
    logger = logging.getLogger("efq.toolchain")
    level = logger.level
    if not processes.leads:
        logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def join_processes(device: str) -> Processes:
    """Join the group that torchrun describes in the environment, or stand alone. Raises DeviceError."""
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        return Processes(rank=0, world_size=1, device=torch_device(device))
    local = int(os.environ.get("LOCAL_RANK", "0"))
    target = torch_device(f"cuda:{local}" if device == "cuda" else device)
    if target.type == "cuda":
        torch.cuda.set_device(target)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if target.type == "cuda" else "gloo")
    return Processes(rank=dist.get_rank(), world_size=world_size, device=target)


def leave_processes() -> None:
    """Leave the group, if there is one."""
    if dist.is_initialized():
        dist.destroy_process_group()
