"""Where a fit runs: the processor or a GPU, alone or as one of several processes started by ``torchrun``."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed, nn

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among ``count`` of them, and its device."""

    number: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this process writes the files."""
        return self.number == 0

    def own_seed(self, seed: int) -> int:
        """A seed that no other process uses; ``seed`` itself for a single one."""
        return seed * self.count + self.number

    def share(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """This process's part of a batch."""
        return rows[self.number :: self.count]

    def after_first(self, make: Callable[[], Made]) -> Made:
        """What ``make`` returns: the first process makes it alone, the others when its files are there."""
        if not self.first:
            distributed.barrier()
        made = make()
        if self.first and self.count > 1:
            distributed.barrier()
        return made

    def average_gradients(self, network: nn.Module) -> None:
        """Let every process descend by the mean of all gradients."""
        if self.count == 1:
            return
        for parameter in network.parameters():
            if parameter.grad is not None:
                distributed.all_reduce(parameter.grad)
                parameter.grad /= self.count


def join_ranks() -> Ranks:
    """Join the processes that ``torchrun`` started, or stand alone; on a GPU where there is one."""
    count, number = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    gpu = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if gpu else torch.device("cpu")
    if gpu:
        torch.cuda.set_device(device)
    if count > 1 and not distributed.is_initialized():
        distributed.init_process_group("nccl" if gpu else "gloo")
    return Ranks(number, count, device)
