"""PyTorch modules that compute with our kernels, forward and backward, and `use_kernels`, which puts them into a network.

They are subclasses of PyTorch's: same arguments, same parameters, same state dictionaries.
"""

from solutions.gpu.layers.convert import use_kernels
from solutions.gpu.layers.modules import AvgPool2d, BatchNorm2d, Conv2d, CrossEntropyLoss, MaxPool2d

__all__ = ["AvgPool2d", "BatchNorm2d", "Conv2d", "CrossEntropyLoss", "MaxPool2d", "use_kernels"]
