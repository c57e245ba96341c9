"""Softmax and cross-entropy in one pass over the logits: neither the probabilities nor their logarithms are stored.

A program has one row.  Subtracting the largest logit first keeps exp from overflowing and changes nothing else.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def forward_kernel(logits, labels, losses, log_sums, K, row_step, column_step, BLOCK_K: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, BLOCK_K)
    z = tl.load(logits + row * row_step + k * column_step, k < K, other=float("-inf")).to(tl.float32)
    largest = tl.max(z, axis=0)
    log_sum = largest + tl.log(tl.sum(tl.exp(z - largest), axis=0))
    right = tl.load(logits + row * row_step + tl.load(labels + row) * column_step).to(tl.float32)
    tl.store(losses + row, log_sum - right)
    tl.store(log_sums + row, log_sum)


@triton.jit
def backward_kernel(logits, labels, log_sums, grad_loss, dlogits, N, K, row_step, column_step, BLOCK_K: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    k = tl.arange(0, BLOCK_K)
    z = tl.load(logits + row * row_step + k * column_step, k < K, other=float("-inf")).to(tl.float32)
    probability = tl.exp(z - tl.load(log_sums + row))
    wanted = (k == tl.load(labels + row)).to(tl.float32)
    result = (probability - wanted) * (tl.load(grad_loss) / N)
    tl.store(dlogits + row * K + k, result.to(dlogits.dtype.element_ty), k < K)


def cross_entropy(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The mean loss of a batch, a float32 scalar, and log(sum(exp)) of each row, which backward needs.

    logits (N, K), any float dtype; labels int64 (N,), from 0 to K − 1.
    """
    N, K = logits.shape
    losses, log_sums = torch.empty(2, N, dtype=torch.float32, device=logits.device)
    forward_kernel[(N,)](logits, labels, losses, log_sums, K, *logits.stride(), BLOCK_K=triton.next_power_of_2(K))
    return losses.mean(), log_sums


def cross_entropy_backward(logits: Tensor, labels: Tensor, log_sums: Tensor, grad_loss: Tensor) -> Tensor:
    """The gradient (N, K) for the logits: (softmax − one-hot) / N, times grad_loss, a scalar."""
    N, K = logits.shape
    dlogits = torch.empty((N, K), dtype=logits.dtype, device=logits.device)
    backward_kernel[(N,)](logits, labels, log_sums, grad_loss, dlogits, N, K, *logits.stride(),
                          BLOCK_K=triton.next_power_of_2(K))
    return dlogits
