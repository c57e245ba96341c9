"""What all kernels over images share: how results lie in memory, and how pixels and channels are cut into tiles."""

from __future__ import annotations

import torch
import triton
from torch import Tensor


def memory_format(x: Tensor) -> torch.memory_format:
    """Channels-last if x is, so that what follows stays it."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def tiles(M: int, C: int) -> tuple[tuple[int, int], dict[str, int]]:
    """The grid that covers M pixels by C channels, and the sides of its tiles, as kernels take them."""
    blocks = {"BLOCK_M": 64, "BLOCK_C": min(64, triton.next_power_of_2(C))}
    return (triton.cdiv(M, blocks["BLOCK_M"]), triton.cdiv(C, blocks["BLOCK_C"])), blocks
