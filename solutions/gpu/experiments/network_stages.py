"""The stages of some networks of the course, for the architecture browser of `cnnlab.widgets`."""

import torch

from cnnlab import summary
from cnnlab.widgets.stages import stages
from solutions.gpu.models.zoo import NETWORKS, create

WHAT = ("What each stage of a network gives for one image (channels, rows, columns), what it learns and how many "
        "multiply-adds it takes")

NAMES = ("lenet", "alexnet", "zfnet", "vgg16", "googlenet_no_heads", "resnet18", "resnet50", "resnet152",
         "densenet121", "mobilenet_v2", "efficientnet_b0")


def run(quick: bool) -> list[dict]:
    return measure(NAMES[:2] if quick else NAMES)


def measure(names) -> list[dict]:
    rows = []
    for name in names:
        with torch.device("meta"):
            model = create(name).eval()
        for stage in stages(summary(model, NETWORKS[name].input).lecture().rows):
            rows.append({"network": name, "stage": stage["name"], "output": "×".join(map(str, stage["output"])),
                         "kind": stage["kind"], "parameters": stage["parameters"],
                         "multiply_adds": stage["multiply_adds"]})
    return rows
