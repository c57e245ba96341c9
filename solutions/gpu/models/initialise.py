"""First weights, as in the papers."""

from __future__ import annotations

from torch import nn


def he(model: nn.Module, *outputs: nn.Linear | nn.ConvTranspose2d) -> None:
    """Draw all weights from N(0, 2 / fan-in), those of the output layers from N(0, 0.01²); set all biases to 0.

    After a ReLU, 2 / fan-in keeps the mean square of the activations from layer to layer.  No ReLU follows the
    outputs; they start small, so that the first loss is near ln(num_classes).  Batch norm keeps what PyTorch gives it:
    scale 1, shift 0.  He et al., Delving deep into rectifiers, 2015, section 2.2.
    """
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for layer in outputs:
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)


def gaussian(model: nn.Module, std: float = 0.01) -> None:
    """Draw all weights from N(0, std²), and set all biases to 0.  Krizhevsky et al., 2012, section 5."""
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight, std=std)
            nn.init.zeros_(module.bias)
