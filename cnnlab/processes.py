"""One training in several processes, each on a GPU of its own: what each takes, and what they put together.

torchrun starts the processes, and `join` makes them a group.  Without a group there is one process, which takes
everything, and nothing here changes what it is given.
"""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor, nn


def join(device: str) -> str:
    """Join the processes that torchrun started, if it did; returns the device of this one.

    device: "cuda", for a GPU each (through NCCL), or "cpu" (through Gloo).  Raises ValueError if it is another, or if
    there are fewer GPUs than processes.
    """
    if "LOCAL_RANK" not in os.environ:
        return device
    if device not in ("cuda", "cpu"):
        raise ValueError(f"Under torchrun every process takes a device of its own: give cuda or cpu, not {device}.")
    if device == "cuda":
        here, gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
        if here > gpus:
            raise ValueError(f"torchrun started {here} processes for {gpus} GPU{'s' * (gpus != 1)}; "
                             f"give --nproc-per-node={gpus}.")
        device = f"cuda:{os.environ['LOCAL_RANK']}"
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    return device


def leave() -> None:
    """The end of what `join` began."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def count() -> int:
    """How many processes there are."""
    return dist.get_world_size() if _grouped() else 1


def number() -> int:
    """Which of them this is, from 0."""
    return dist.get_rank() if _grouped() else 0


def share(examples: int) -> slice:
    """Which of so many examples are this process's: a run of them, as long as the others' or longer by one."""
    return slice(examples * number() // count(), examples * (number() + 1) // count())


def total(values: Tensor) -> Tensor:
    """The sum of what the processes hold, element by element; written to `values`."""
    if _grouped():
        dist.all_reduce(values)
    return values


def parallel(model: nn.Module) -> nn.Module:
    """A module that computes as `model` does, starts with the weights of process 0, and whose gradients are, after
    backward, the mean over the processes (Li et al., PyTorch distributed, 2020, section 3)."""
    return nn.parallel.DistributedDataParallel(model) if _grouped() else model


def same_buffers(model: nn.Module) -> None:
    """Give every process the running statistics of process 0, as forward does before each step, but not after the
    last."""
    if _grouped():
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
