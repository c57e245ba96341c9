"""PyTorch's modules with our kernels inside.  What a kernel does not do is refused when the module is made."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from solutions.gpu.kernels.batch_norm import batch_norm, statistics
from solutions.gpu.layers import functions


class OnKernels:
    """What the modules share: they are made only if there is a kernel for them."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        if obstacle := self.obstacle():
            raise ValueError(f"there is no kernel for {self}: {obstacle}")


def lowered(*tensors: Tensor | None) -> tuple[Tensor | None, ...]:
    """The tensors in autocast's dtype where autocast is on, as it does for PyTorch's own convolutions."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(None if t is None else t.to(dtype) for t in tensors)


class Conv2d(OnKernels, nn.Conv2d):
    """`torch.nn.Conv2d` with zeros for padding."""

    def obstacle(self) -> str:
        """Why there is no kernel for this module, or nothing."""
        if self.padding_mode != "zeros":
            return "padding_mode is zeros"
        return "padding is a number or a pair" if isinstance(self.padding, str) else ""

    def forward(self, x: Tensor) -> Tensor:
        x, weight, bias = lowered(x, self.weight, self.bias)
        if self.groups == self.in_channels == self.out_channels:
            return functions.DepthwiseConv2d.apply(x, weight, bias, self.stride, self.padding, self.dilation)
        return functions.Conv2d.apply(x, weight, bias, self.stride, self.padding, self.dilation, self.groups)


class MaxPool2d(OnKernels, nn.MaxPool2d):
    """`torch.nn.MaxPool2d`, rounding down."""

    def obstacle(self) -> str:
        """Why there is no kernel for this module, or nothing."""
        return "sizes are rounded down, and no indices returned" if self.ceil_mode or self.return_indices else ""

    def forward(self, x: Tensor) -> Tensor:
        return functions.MaxPool2d.apply(x, self.kernel_size, self.stride, self.padding, self.dilation)


class AvgPool2d(OnKernels, nn.AvgPool2d):
    """`torch.nn.AvgPool2d`, rounding down, with padding counted."""

    def obstacle(self) -> str:
        """Why there is no kernel for this module, or nothing."""
        plain = not self.ceil_mode and self.count_include_pad and self.divisor_override is None
        return "" if plain else "sizes are rounded down, and padding counts"

    def forward(self, x: Tensor) -> Tensor:
        return functions.AvgPool2d.apply(x, self.kernel_size, self.stride, self.padding)


class BatchNorm2d(OnKernels, nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` with scale, shift and running statistics that move by a fixed part."""

    def obstacle(self) -> str:
        """Why there is no kernel for this module, or nothing."""
        plain = self.affine and self.track_running_stats and self.momentum is not None
        return "" if plain else "it is affine, tracks running statistics and has a momentum"

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            if torch.is_grad_enabled() and (x.requires_grad or self.weight.requires_grad):
                return super().forward(x)  # gradients through fixed statistics are rare, and PyTorch's will do
            return batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)
        mean, var = statistics(x.detach())
        count = x.numel() // x.shape[1]
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * (count / max(count - 1, 1)), self.momentum)  # unbiased, as PyTorch keeps it
            self.num_batches_tracked += 1
        return functions.BatchNorm2d.apply(x, mean, var, self.weight, self.bias, self.eps)


class CrossEntropyLoss(nn.Module):
    """The mean cross-entropy of logits (N, K) and labels (N,), in float32."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return functions.CrossEntropy.apply(logits, labels)
