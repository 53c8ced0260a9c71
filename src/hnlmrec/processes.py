"""The processes of one run, as `accelerate launch` or `torchrun` start them: who they are, and what they share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_TIMEOUT = timedelta(days=30)  # others wait while the main process asks a language model


@dataclass(frozen=True)
class Processes:
    """This process among those of the run; calls that share something are made by all of them.

    Attributes:
        rank: number of this process, 0 for the main one, which alone writes files.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait for all others to come here."""
        self.tell(None)

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, the same to the last digit on each."""
        if self.size > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)

    def sum_gradients(self, parameters: Sequence[Tensor]) -> None:
        """Give each parameter the sum of its gradients over the processes; one without any keeps none."""
        if self.size == 1:
            return
        there = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
        self.sum_([there])
        for parameter, count in zip(parameters, there.tolist(), strict=True):
            if count:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                self.sum_([parameter.grad])

    def tell(self, value: Any) -> Any:
        """Return the main process's value, which JSON must be able to hold; that of the others is ignored."""
        if self.size == 1:
            return value
        text = json.dumps(value).encode() if self.is_main else b""
        length = torch.tensor([len(text)])
        dist.broadcast(length, 0)
        content = torch.zeros(int(length), dtype=torch.uint8)
        if self.is_main:
            content.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        dist.broadcast(content, 0)
        return json.loads(content.numpy().tobytes())


def current() -> Processes:
    """Return this process's place; that of the only one where none has been joined."""
    if not (dist.is_available() and dist.is_initialized()):
        return Processes()
    return Processes(dist.get_rank(), dist.get_world_size())


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the other processes of the launcher for the time of the block; does nothing without a launcher."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield current()
        return
    has_gpus = torch.cuda.is_available()
    if has_gpus:
        torch.cuda.set_device(local_rank())
    dist.init_process_group("cpu:gloo,cuda:nccl" if has_gpus else "gloo", timeout=_TIMEOUT)
    try:
        yield current()
    finally:
        dist.destroy_process_group()


def local_rank() -> int:
    """Return the number of this process on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def best_device() -> str:
    """Return the CUDA device of this process, or "cpu" where there is none."""
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{local_rank()}" if "LOCAL_RANK" in os.environ else "cuda"
