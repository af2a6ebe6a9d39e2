"""Many processes that train one model: what ``accelerate launch`` starts, or just this one.

Each process computes its slice of every step's photos; gradients and losses are then summed, so that
the curve is the one of a single process with the same ``batch_size``. Only the main one writes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Group:
    """rank: the number of this process, from 0. size: how many there are."""

    rank: int = 0
    size: int = 1

    @property
    def main(self) -> bool:
        return self.rank == 0

    @property
    def first_here(self) -> bool:
        """Whether this is the first process of its machine."""
        return os.environ.get("LOCAL_RANK", "0") == "0"

    def part(self, count: int) -> slice:
        """This process's share of ``count`` things; the shares of all processes are disjoint and in order."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def sum(self, tensors: list[torch.Tensor]) -> None:
        """Replace each tensor by its sum over all processes; one message for all of them."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1).float() for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, part in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors])):
            tensor.copy_(part.view_as(tensor))

    def tell(self, value: Any = None) -> Any:
        """What the main process says, for all."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def everyone(self, value: Any) -> list[Any]:
        """What each process says, in their order, for all."""
        values = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(values, value)
        return values

    def gather(self, rows: torch.Tensor) -> torch.Tensor:
        """The rows of all processes, in their order, on the CPU."""
        return torch.cat(self.everyone(rows.cpu()))


def join(device: str | None = None) -> Group:
    """The group that the environment speaks of; connects this process to it on the first call.

    device: as in TrainingConfig. On GPUs each process takes the one of its number.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        from accelerate import PartialState

        PartialState(cpu=device == "cpu" or not torch.cuda.is_available())
    return current()


def leave() -> None:
    """Disconnect this process. One that ends without it may die of its own connection: the threads of it that
    still run want Python back.
    """
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def current() -> Group:
    """The group this process has joined, or one of its own."""
    return (
        Group(dist.get_rank(), dist.get_world_size())
        if dist.is_available() and dist.is_initialized()
        else Group()
    )
