"""Weights from torchvision's networks, and to them, by the names in their state dictionaries."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor, nn

from solutions.gpu.models.zoo import NETWORKS, create

COUNTERPARTS = {network.torchvision: name for name, network in NETWORKS.items() if network.torchvision}


def load_torchvision(name: str, state_dict: Mapping[str, Tensor]) -> nn.Module:
    """The network that torchvision calls `name`, such as "resnet50", with the weights of its state dictionary.

    It gives torchvision's outputs, so resnet50 is v1.5 and googlenet has batch norm.  It is a new float32 network on
    the CPU, in training mode like all new ones; num_classes, in_channels and auxiliary heads are those of the
    dictionary.  One difference: torchvision's googlenet and inception_v3 with pretrained weights first turn an image
    normalised by ImageNet's mean and standard deviation into one normalised by 0.5 and 0.5; ours want the latter.

    Raises ValueError where the name is unknown, or a key is missing, superfluous or of another shape.
    """
    if name not in COUNTERPARTS:
        raise ValueError(f"{name!r} is no torchvision network of this zoo; there are {', '.join(COUNTERPARTS)}")
    blank = _like(COUNTERPARTS[name], state_dict)
    keys, shapes = torchvision_keys(blank), {key: tensor.shape for key, tensor in blank.state_dict().items()}
    wanted = {theirs: shapes[ours] for ours, theirs in keys.items()}
    # Dictionaries from before PyTorch 0.4.1 have no count of batches; nothing is computed from it.
    missing = [key for key in wanted if key not in state_dict and not key.endswith("num_batches_tracked")]
    superfluous = [key for key in state_dict if key not in wanted]
    if missing or superfluous:
        raise ValueError(f"this is no state dictionary of torchvision's {name}: "
                         + "; ".join(f"it {what} {keys[0]!r}" + (f" and {len(keys) - 1} more" if keys[1:] else "")
                                     for what, keys in (("lacks", missing), ("also has", superfluous)) if keys))
    for key, shape in wanted.items():
        if key in state_dict and state_dict[key].shape != shape:
            raise ValueError(f"{key!r} has shape {tuple(state_dict[key].shape)}; in {name} it has {tuple(shape)}")
    model = blank.to_empty(device="cpu")
    model.load_state_dict({ours: state_dict.get(theirs, torch.tensor(0)) for ours, theirs in keys.items()})
    return model


def to_torchvision(model: nn.Module) -> dict[str, Tensor]:
    """The state dictionary of `model` with torchvision's keys, for the network of torchvision that equals it.

    Raises ValueError where there is none: other strides or layers would compute something else from the same weights.
    """
    state = model.state_dict()
    if hasattr(model, "torchvision_names"):
        keys = torchvision_keys(model)
        theirs = {keys[ours]: tensor for ours, tensor in state.items()}
        for name in COUNTERPARTS.values():
            if _keys(name, *_heads(name, theirs).values()) == list(theirs) and repr(_like(name, theirs)) == repr(model):
                return theirs
    raise ValueError(f"torchvision has no {type(model).__name__} like this one; these networks of the zoo are equal to "
                     f"one of torchvision's: {', '.join(COUNTERPARTS.values())}")


def torchvision_keys(model: nn.Module) -> dict[str, str]:
    """Torchvision's key for each key of the model's state dictionary, in order."""
    keys = {}
    for ours in model.state_dict():
        theirs = ours
        for here, there in model.torchvision_names:
            theirs = theirs.replace(here, there)
        keys[ours] = theirs
    return keys


def _like(name: str, state_dict: Mapping[str, Tensor]) -> nn.Module:
    """The network `name` on the meta device, as wide at its two ends as the weights in torchvision's dictionary."""
    heads = _heads(name, state_dict)
    keys = _keys(name, *heads.values())
    first, last = keys[0], [key for key in keys if key.endswith("weight")][-1]
    conv, fc = state_dict.get(first), state_dict.get(last)
    fits = getattr(conv, "ndim", 0) == 4 and getattr(fc, "ndim", 0) == 2
    ends = {"in_channels": conv.shape[1], "num_classes": fc.shape[0]} if fits else {}
    with torch.device("meta"):
        return create(name, **ends, **heads)


def _heads(name: str, state_dict: Mapping[str, Tensor]) -> dict[str, bool]:
    """Whether the network has the auxiliary heads of torchvision's dictionary, for those that can have them."""
    may_have = name.startswith(("googlenet", "inception"))
    return {"aux_heads": any(key.lower().startswith("aux") for key in state_dict)} if may_have else {}


@cache
def _keys(name: str, *heads: bool) -> list[str]:
    """Torchvision's keys for the network `name`, in order."""
    with torch.device("meta"):
        return list(torchvision_keys(create(name, **({"aux_heads": heads[0]} if heads else {}))).values())
