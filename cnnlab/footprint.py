"""One run of a network, followed: what each layer gave, what it cost, and what autograd kept of it.

`cnnlab.summary` makes a table of it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field


@dataclass
class Call:
    """One call of a module: what it gave, and the bytes of it that nobody had given before and that are kept.

    flops: of the module itself, without its parts, as torch.utils.flop_counter counts them.
    parameters: its own, those that no call before it had.
    leaf: it has no parts.
    """

    module: object
    name: str = "input"
    output: tuple[int, ...] = ()
    leaf: bool = True
    parameters: int = 0
    flops: int = 0
    forward: int = 0
    kept: int = 0
    begun: int = 0  # flops counted before it
    inside: int = 0  # flops of its parts


@dataclass
class _Watch:
    """Follows a run by hooks: which call made which memory, and what autograd saved of it.

    Memory is told apart by its storage, which views share.  All storages seen are held, as the address of one that is
    freed is given to another.
    """

    counter: object
    weights: set[int]
    given: Call
    begun: list[Call] = field(default_factory=list)
    ended: list[Call] = field(default_factory=list)
    running: list[Call] = field(default_factory=list)
    maker: dict[int, Call] = field(default_factory=dict)
    saved: dict[int, object] = field(default_factory=dict)
    held: list = field(default_factory=list)

    def enter(self, module, *_):
        call = Call(module, begun=self.counter.get_total_flops())
        self.begun.append(call)
        self.running.append(call)

    def leave(self, module, given, output):
        call = self.running.pop()
        total = self.counter.get_total_flops() - call.begun
        call.flops = total - call.inside
        if self.running:
            self.running[-1].inside += total
        self.made(call, output)
        self.ended.append(call)

    def made(self, call, value):
        if isinstance(value, dict):
            value = tuple(value.values())
        if isinstance(value, list | tuple):
            for v in value:
                self.made(call, v)
        elif hasattr(value, "untyped_storage"):
            storage = value.untyped_storage()
            if storage._cdata not in self.maker and storage._cdata not in self.weights:
                self.maker[storage._cdata] = call
                self.held.append(storage)
                call.forward += storage.nbytes()

    def save(self, tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in self.saved and storage._cdata not in self.weights:
            self.saved[storage._cdata] = storage
            call = self.maker.get(storage._cdata, self.running[-1] if self.running else self.given)
            call.kept += storage.nbytes()
        return tensor


def run(model, x) -> list[Call]:
    """The calls of one run of `model`, in the order in which they ended, the input first.

    It leaves its hooks on the model: give it a copy.
    """
    import torch
    import torchinfo
    from torch.utils.flop_counter import FlopCounterMode

    names = {module: name or type(module).__name__ for name, module in model.named_modules()}
    modes = {module: module.training for module in names}
    counter = FlopCounterMode(display=False)
    weights = {t.untyped_storage()._cdata for some in (model.parameters(), model.buffers()) for t in some}
    watch = _Watch(counter, weights, given=Call(None, output=tuple(x.shape)))
    watch.made(watch.given, x)

    def as_it_is(module, given):  # torchinfo runs without gradients, and all modules in one mode
        torch.set_grad_enabled(True)
        for part, training in modes.items():
            part.training = training

    model.register_forward_pre_hook(as_it_is)
    for module in names:
        module.register_forward_pre_hook(watch.enter)
        module.register_forward_hook(watch.leave)
    with torch.autograd.graph.saved_tensors_hooks(watch.save, lambda tensor: tensor), counter:
        read = torchinfo.summary(model, input_data=[x], verbose=0, mode="train" if model.training else "eval")
    torchinfo.torchinfo.clear_cached_forward_pass()  # which would hold the copy

    layers, counted = [layer for layer in read.summary_list if layer.executed], set()
    for call, layer in zip(watch.begun, layers, strict=True):
        call.name, call.output, call.leaf = names[call.module], tuple(layer.output_size), layer.is_leaf_layer
        own = set(call.module.parameters(recurse=False)) - counted
        call.parameters = sum(p.numel() for p in own)
        counted |= own
    return [watch.given, *watch.ended]


def hollow(model):
    """A copy of `model` on the meta device, for which no memory is needed."""
    import torch

    def shape_of(t):
        shape = torch.empty_like(t, device="meta")
        if isinstance(t, torch.nn.Parameter):
            return torch.nn.Parameter(shape, requires_grad=t.requires_grad)
        return shape.requires_grad_(t.requires_grad)

    tensors = [*model.parameters(), *model.buffers(),
               *(v for module in model.modules() for v in vars(module).values() if isinstance(v, torch.Tensor))]
    return _bare(copy.deepcopy(model, {id(t): shape_of(t) for t in tensors}))


def whole(model):
    """A copy of `model` with its weights."""
    return _bare(copy.deepcopy(model))


def _bare(model):
    """`model` without hooks, which might note what is run."""
    for module in model.modules():
        module._forward_hooks.clear()
        module._forward_pre_hooks.clear()
    return model
