"""What autograd calls: each function runs a kernel, keeps what its gradients need, and asks only for those wanted."""

from __future__ import annotations

from torch import Tensor
from torch.autograd import Function

from solutions.gpu.kernels import batch_norm as bn
from solutions.gpu.kernels import convolution as conv
from solutions.gpu.kernels import cross_entropy as ce
from solutions.gpu.kernels import depthwise as dw
from solutions.gpu.kernels import pooling as pool


class Conv2d(Function):
    """A convolution of any groups but as many as channels."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, stride, padding, dilation, groups) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.settings = stride, padding, dilation, groups
        return conv.conv2d(x, weight, bias, *ctx.settings)

    @staticmethod
    def backward(ctx, dy: Tensor):
        x, weight = ctx.saved_tensors
        dx = conv.conv2d_grad_input(dy, weight, x.shape[2:], *ctx.settings) if ctx.needs_input_grad[0] else None
        grad = conv.conv2d_grad_weight(dy, x, weight.shape[2:], *ctx.settings) if ctx.needs_input_grad[1] else None
        return dx, grad, dy.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None, None, None, None, None


class DepthwiseConv2d(Function):
    """A convolution with a filter for each channel."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, stride, padding, dilation) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.settings = stride, padding, dilation
        return dw.depthwise_conv2d(x, weight, bias, *ctx.settings)

    @staticmethod
    def backward(ctx, dy: Tensor):
        x, weight = ctx.saved_tensors
        dx = dw.depthwise_grad_input(dy, weight, x.shape[2:], *ctx.settings) if ctx.needs_input_grad[0] else None
        grad = dw.depthwise_grad_weight(dy, x, weight.shape[2:], *ctx.settings) if ctx.needs_input_grad[1] else None
        return dx, grad, dy.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None, None, None, None


class MaxPool2d(Function):
    """Max pooling; keeps which position of each window won, one byte each, and not x."""

    @staticmethod
    def forward(ctx, x: Tensor, kernel_size, stride, padding, dilation) -> Tensor:
        ctx.settings, ctx.size = (kernel_size, stride, padding, dilation), x.shape[2:]
        y, winner = pool.max_pool2d(x, *ctx.settings)
        ctx.save_for_backward(winner)
        return y

    @staticmethod
    def backward(ctx, dy: Tensor):
        winner, = ctx.saved_tensors
        return pool.max_pool2d_backward(dy, winner, ctx.size, *ctx.settings), None, None, None, None


class AvgPool2d(Function):
    """Average pooling, padding counted; keeps nothing."""

    @staticmethod
    def forward(ctx, x: Tensor, kernel_size, stride, padding) -> Tensor:
        ctx.settings, ctx.size = (kernel_size, stride, padding), x.shape[2:]
        return pool.avg_pool2d(x, *ctx.settings)

    @staticmethod
    def backward(ctx, dy: Tensor):
        return pool.avg_pool2d_backward(dy, ctx.size, *ctx.settings), None, None, None


class BatchNorm2d(Function):
    """Batch norm in training; mean and var are those of x, and no gradient is taken of them."""

    @staticmethod
    def forward(ctx, x: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x, mean, var, weight)
        ctx.eps = eps
        return bn.batch_norm(x, mean, var, weight, bias, eps)

    @staticmethod
    def backward(ctx, dy: Tensor):
        dx, grad_weight, grad_bias = bn.batch_norm_backward(dy, *ctx.saved_tensors, ctx.eps)
        return dx, None, None, grad_weight, grad_bias, None


class CrossEntropy(Function):
    """The mean cross-entropy of logits (N, K) and labels (N,)."""

    @staticmethod
    def forward(ctx, logits: Tensor, labels: Tensor) -> Tensor:
        loss, log_sums = ce.cross_entropy(logits, labels)
        ctx.save_for_backward(logits, labels, log_sums)
        return loss

    @staticmethod
    def backward(ctx, grad_loss: Tensor):
        return ce.cross_entropy_backward(*ctx.saved_tensors, grad_loss), None
