"""What every network of the course holds and costs, beside the top-1 accuracy that was published for it.

Canziani, Paszke and Culurciello, An analysis of deep neural network models for practical applications, 2016, drew such
a chart first.  Parameters and multiply-adds are our own counts; accuracies are on ImageNet's validation images, one
central crop, each with its source.
"""

import torch

from solutions.gpu.models.network import count_multiply_adds, count_parameters
from solutions.gpu.models.zoo import NETWORKS, create

WHAT = ("Parameters and multiply-adds for one image of that size, counted by us; published top-1 accuracy on ImageNet "
        "in %, single crop, and its source; nan where the network is not for ImageNet or no accuracy is known to us")

FAMILIES = {"lenet": "LeNet", "alexnet": "AlexNet", "zfnet": "ZFNet", "vgg": "VGG", "googlenet": "GoogLeNet",
            "inception": "Inception-v3", "resnet": "ResNet", "plain": "plain", "wide_resnet": "Wide ResNet",
            "resnext": "ResNeXt", "se_resnet": "SE-ResNet", "densenet": "DenseNet", "mobilenet_v1": "MobileNet v1",
            "mobilenet_v2": "MobileNet v2", "nasnet": "NASNet-A", "nasnet_cifar": "CIFAR",
            "efficientnet": "EfficientNet", "enet": "ENet", "cifar": "CIFAR"}

# The weights of torchvision that were released first (IMAGENET1K_V1), as torchvision 0.28 states them.  Later weights
# of the same networks reach up to five points more, by longer training with more augmentation; so do the only ones of
# ResNeXt-101 64x4d, which is left out.
TORCHVISION = {
    "alexnet": 56.522, "vgg11": 69.02, "vgg11_bn": 70.37, "vgg13": 69.928, "vgg13_bn": 71.586, "vgg16": 71.592,
    "vgg16_bn": 73.36, "vgg19": 72.376, "vgg19_bn": 74.218, "googlenet": 69.778, "inception_v3": 77.294,
    "resnet18": 69.758, "resnet34": 73.314, "resnet50": 76.13, "resnet101": 77.374, "resnet152": 78.312,
    "wide_resnet50_2": 78.468, "wide_resnet101_2": 78.848, "resnext50_32x4d": 77.618, "resnext101_32x8d": 79.312,
    "densenet121": 74.434, "densenet161": 77.138, "densenet169": 75.6, "densenet201": 76.896, "mobilenet_v2": 71.878,
    "efficientnet_b0": 77.692, "efficientnet_b1": 78.642, "efficientnet_b2": 80.608, "efficientnet_b3": 82.008,
    "efficientnet_b4": 83.384, "efficientnet_b5": 83.444, "efficientnet_b6": 84.008, "efficientnet_b7": 84.122}

# Those that torchvision does not have.
PAPERS = {
    "zfnet": (61.6, "Zeiler & Fergus 2014, table 2, 1 convnet as per figure 3"),
    "zfnet_wide": (62.5, "Zeiler & Fergus 2014, table 2, 1 convnet with layers of 512, 1024, 512 maps"),
    "se_resnet50": (76.71, "Hu, Shen & Sun 2018, table 2"),
    "se_resnet101": (77.62, "Hu, Shen & Sun 2018, table 2"),
    "se_resnet152": (78.43, "Hu, Shen & Sun 2018, table 2"),
    "mobilenet_v1": (70.6, "Howard et al. 2017, table 6"),
    "mobilenet_v1_0_75": (68.4, "Howard et al. 2017, table 6"),
    "mobilenet_v1_0_5": (63.7, "Howard et al. 2017, table 6"),
    "mobilenet_v1_0_25": (50.6, "Howard et al. 2017, table 6"),
    "mobilenet_v2_1_4": (74.7, "Sandler et al. 2018, table 4"),
    "nasnet_mobile": (74.0, "Zoph, Vasudevan, Shlens & Le 2018, table 3"),
    "nasnet_large": (82.7, "Zoph, Vasudevan, Shlens & Le 2018, table 2"),
}

# Auxiliary heads, which the zoo's network of that name has, classify nothing once the network is trained.
WEIGHTS_OF = {"inception_v3": None, "inception_v3_no_heads": "inception_v3"}

# The crop of the published weights, where it is not the usual input of the network.
CROPS = {"efficientnet_b2": (3, 288, 288)}


def family(name: str) -> str:
    """The family with the longest name that `name` begins with."""
    batch_norm = " with batch norm" if name.endswith("_bn") else ""
    return FAMILIES[max((f for f in FAMILIES if name.startswith(f)), key=len)] + batch_norm


def counted() -> list[str]:
    """The networks that classify, each at one size of its input."""
    return [name for name, network in NETWORKS.items() if not network.segmentation and "_at_" not in name]


def published(name: str) -> tuple[float, str]:
    """Top-1 accuracy in % and its source; NaN and "" where there is none."""
    theirs = WEIGHTS_OF.get(name, NETWORKS[name].torchvision)
    if theirs in TORCHVISION:
        return TORCHVISION[theirs], "torchvision, IMAGENET1K_V1"
    return PAPERS.get(name, (float("nan"), ""))


def run(quick: bool) -> list[dict]:
    return measure(counted()[::8] if quick else counted())


def measure(names) -> list[dict]:
    rows = []
    for name in names:
        size = CROPS.get(name, NETWORKS[name].input)
        with torch.device("meta"):
            model = create(name)
        top1, source = published(name)
        rows.append({"network": name, "family": family(name), "input": size[-1], "parameters": count_parameters(model),
                     "multiply_adds": count_multiply_adds(model, size), "top1": top1, "source": source})
    return rows
