"""The networks of notebooks 09 to 15, one file for each architecture, written from the papers.

`create("resnet18", num_classes=10)` makes one of them; NETWORKS has them all, with what has been published about
each; `python -m solutions.gpu.models` prints their counts beside the published ones.
"""

from solutions.gpu.models.convert import load_torchvision, to_torchvision
from solutions.gpu.models.zoo import NETWORKS, create

__all__ = ["NETWORKS", "create", "load_torchvision", "to_torchvision"]
