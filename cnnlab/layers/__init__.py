"""The course's layers in NumPy: forward, backward, and a training step.

    net = Sequential([Conv2d(w, b, padding=2), ReLU(), MaxPool2d(2), Flatten(), Linear(v, c)])
    loss = CrossEntropyLoss()
    loss.forward(net.forward(x), labels)
    net.backward(loss.backward())
    SGD(net.layers, lr=0.1).step()

Names, arguments and conventions are PyTorch's: x is (N, C, H, W), weights are given first.  `forward` keeps what
`backward` needs.  After `backward(dy)`, which returns dx, a layer with weights has `grad_weight` and `grad_bias`;
every `backward` overwrites them.  A result has the dtype of the input, float64 or float32.  No input is modified.

`make bench-layers` measures them beside torch: in float32 on two cores, forward and backward of the layers of LeNet,
AlexNet and VGG-16 take about as long as torch's, by the geometric mean of the ratios.  The first layers of VGG-16 at
batch 8 take 0.55 GB forward and backward; the matrix of windows that a plain im2col makes for the second has 0.92 GB.
Where the processor has AVX-512 but NumPy's OpenBLAS does not use it (AMD Zen 4 and 5), OPENBLAS_CORETYPE=SkylakeX in the
environment, before Python starts, saves a fifth of the time of a convolution.
"""

from cnnlab.layers.activation import Dropout, ReLU, Tanh
from cnnlab.layers.conv import Conv2d
from cnnlab.layers.init import kaiming_normal, kaiming_uniform, xavier_uniform
from cnnlab.layers.linear import Flatten, Linear
from cnnlab.layers.norm import BatchNorm2d
from cnnlab.layers.pool import AvgPool2d, MaxPool2d
from cnnlab.layers.train import SGD, CrossEntropyLoss, Sequential

__all__ = ["AvgPool2d", "BatchNorm2d", "Conv2d", "CrossEntropyLoss", "Dropout", "Flatten", "Linear", "MaxPool2d",
           "ReLU", "SGD", "Sequential", "Tanh", "kaiming_normal", "kaiming_uniform", "xavier_uniform"]
