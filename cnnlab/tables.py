"""`cnnlab.summary`: what every layer of a network gives, holds and costs, as the tables of the lectures show it."""

from __future__ import annotations

import html
from dataclasses import dataclass, replace
from operator import index

from cnnlab import environment, footprint

WIDTH = 100  # columns of the text
MINOR = ("activation", "dropout", "flatten")  # modules of torch.nn that a lecture's table leaves out


@dataclass(frozen=True)
class Row:
    """One layer, in the order in which layers end; all numbers are of the whole batch.

    output: the size of what it gives, with the batch.
    multiply_adds: of convolutions and matrix products; biases, pooling and normalisation are not counted.
    forward_bytes, backward_bytes: see `summary`.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int = 0
    multiply_adds: int = 0
    forward_bytes: int = 0
    backward_bytes: int = 0
    minor: bool = False


@dataclass(frozen=True, repr=False)
class Summary:
    """The rows of a network and their totals; printed, or shown in a notebook, it is a table.

    parameters: of the whole network, also of layers that did not run.
    item: bytes of one value of the input.
    """

    model: str
    rows: list[Row]
    parameters: int
    item: int = 4
    rounded: bool = False

    @property
    def multiply_adds(self) -> int:
        return sum(row.multiply_adds for row in self.rows)

    @property
    def forward_bytes(self) -> int:
        return sum(row.forward_bytes for row in self.rows)

    @property
    def backward_bytes(self) -> int:
        return sum(row.backward_bytes for row in self.rows)

    def lecture(self) -> Summary:
        """The same as lectures write it: 34,944 as 35K, sizes as H×W×C, and activations, dropout and flattening with
        the layer before them, their memory too."""
        rows = []
        for row in self.rows:
            if row.minor and rows:
                rows[-1] = replace(rows[-1], forward_bytes=rows[-1].forward_bytes + row.forward_bytes,
                                   backward_bytes=rows[-1].backward_bytes + row.backward_bytes)
            else:
                rows.append(row)
        return replace(self, rows=rows, rounded=True)

    def __str__(self):
        head, *cells = self._cells()
        wide = [max(len(row[i]) for row in (head, *cells)) for i in range(len(head))]
        spare = WIDTH - sum(wide[2:]) - 2 * (len(head) - 1)
        wide[0] = min(wide[0], max(spare - wide[1], spare // 2))
        wide[1] = min(wide[1], spare - wide[0])
        lines = [self._title(), ""]
        for row in (head, *cells):
            name, kind = (c if len(c) <= n else c[:n - 1] + "…" for c, n in zip(row[:2], wide))
            lines.append("  ".join([name.ljust(wide[0]), kind.ljust(wide[1]),
                                    *(c.rjust(n) for c, n in zip(row[2:], wide[2:]))]).rstrip())
        lines.insert(3, "─" * max(map(len, lines[2:])))
        return "\n".join([*lines, "", *self._totals()])

    __repr__ = __str__

    def _repr_html_(self):
        head, *cells = self._cells()
        line = "border-bottom:1px solid rgba(128,128,128,.4);padding:.15em .6em;background:none"

        def row(tag, texts):
            aligned = zip(texts, ["left", "left", *["right"] * len(texts)])
            return "<tr>" + "".join(f'<{tag} style="text-align:{side};{line}">{html.escape(text)}</{tag}>'
                                    for text, side in aligned) + "</tr>"

        return (f"<div><div>{html.escape(self._title())}</div>"
                '<table style="border-collapse:collapse;margin:.5em 0;font-variant-numeric:tabular-nums">'
                f"<thead>{row('th', head)}</thead><tbody>{''.join(row('td', c) for c in cells)}</tbody></table>"
                f"<div>{'<br>'.join(map(html.escape, self._totals()))}</div></div>")

    def _title(self):
        n, *size = self.rows[0].output
        return f"{self.model}, input {_size(size, self.rounded)}" + (f", batch of {n}" if n > 1 else "")

    def _cells(self):
        """The texts of the table, the heading first."""
        number = _rounded if self.rounded else "{:,}".format
        head = ["layer", "kind", "output", "parameters", "multiply-adds", "forward", "backward"]
        return [head] + [[row.name, row.kind, _size(row.output[1:], self.rounded), number(row.parameters),
                          number(row.multiply_adds), _bytes(row.forward_bytes), _bytes(row.backward_bytes)]
                         for row in self.rows]

    def _totals(self):
        idle = self.parameters - sum(row.parameters for row in self.rows)
        return [f"{self.parameters:,} parameters" + (f", {idle:,} of them in layers that did not run" if idle else ""),
                f"{self.multiply_adds:,} multiply-adds",
                f"{_bytes(self.forward_bytes)} of activations forward ({self.forward_bytes // self.item:,} values), "
                f"{_bytes(self.backward_bytes)} kept for backward"]


def summary(model, input_size) -> Summary:
    """What each layer of a PyTorch network gives, holds and costs, for one input or a batch.

    model: a torch.nn.Module that takes one tensor.  It is left as it is: a copy without its weights is run, on the
    meta device, which computes sizes alone; only a network that cannot run there is copied whole and run on zeros.
    The copy runs in the model's mode, so dropout counts in training, and so do the auxiliary heads of a GoogLeNet.
    input_size: (C, H, W) or (features,) for one example; (N, C, H, W) or (N, features) for a batch.

    Forward memory is the bytes of the tensors that layers give, and of the input.  A layer that works in place, or
    gives a view as Flatten does, adds none.  What is computed inside a layer and dropped is not counted.
    Backward memory is the bytes of what autograd keeps to compute the gradients of the parameters: each tensor once,
    in the row of the layer that gave it, whoever keeps it (so a convolution's output stands in its row if the next
    layer needs it), weights left out.  With it count what only backward needs: the int64 positions of
    max pooling, the mask of dropout, the mean and variance of batch norm (on the meta device in evaluation too).
    What a module with parts of its own does between them, such as a concatenation, has a row after its parts.

    Layers and sizes are read by torchinfo, multiply-adds by torch.utils.flop_counter.  A layer that runs twice has two
    rows, its parameters in the first.  Raises ValueError if the model does not take such an input.
    """
    try:
        import torch
        import torchinfo  # noqa: F401
    except ModuleNotFoundError as e:
        raise ModuleNotFoundError(f"cnnlab.summary needs {e.name}, which is not installed; "
                                  f"run `{environment.pip(e.name)}`.", name=e.name) from None
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"summary takes a torch.nn.Module, not {model if isinstance(model, type) else type(model)}; "
                        "call it as summary(model, (C, H, W)).")
    size = _batch(input_size)
    model = getattr(model, "_orig_mod", model)  # what torch.compile was given
    first = next(model.parameters(), torch.empty(0))
    try:
        try:
            calls = footprint.run(footprint.hollow(model), torch.empty(size, dtype=first.dtype, device="meta"))
        except Exception:  # noqa: BLE001  it may need values: NumPy, .item(), kernels of one's own
            if first.is_meta:
                raise
            calls = footprint.run(footprint.whole(model), torch.zeros(size, dtype=first.dtype, device=first.device))
    except Exception as e:  # noqa: BLE001
        cause = e.__cause__ or e  # torchinfo's own error names no reason
        raise ValueError(f"{type(model).__name__} does not take an input of size {_size(size[1:])} in a batch of "
                         f"{size[0]}: {type(cause).__name__}: {cause}") from e
    rows = [_row(call) for call in calls if call.leaf or call.parameters or call.flops or call.forward or call.kept]
    return Summary(type(model).__name__, rows, sum(p.numel() for p in model.parameters()), first.itemsize)


def _row(call):
    minor = not call.parameters and type(call.module).__module__ in [f"torch.nn.modules.{name}" for name in MINOR]
    return Row(call.name, kind(call.module) if call.module is not None else "", call.output, call.parameters,
               call.flops // 2, call.forward, call.kept, minor)


def _batch(input_size):
    try:
        size = tuple(index(n) for n in input_size)
    except (TypeError, ValueError):
        size = ()
    if not 1 <= len(size) <= 4 or min(size) < 1:
        raise ValueError(f"input_size is (C, H, W) or (features,) for one example, or (N, C, H, W) or (N, features) "
                         f"for a batch, in whole numbers from 1; not {input_size!r}.")
    return size if len(size) % 2 == 0 else (1, *size)


# ---------------------------------------------------------------------------- words

def kind(module) -> str:
    """A layer in a few words: "conv 11×11, stride 4, pad 2", "max pool 3×3, stride 2", "dropout 0.5"."""
    from torch import nn

    name = type(module).__name__
    dims = int(name[-2]) if name[-2:-1].isdigit() else 2
    match module:
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            return ", ".join([f"conv {_by(module.kernel_size)}",
                              *_settings(module, stride=1, padding=0, dilation=1, groups=1)])
        case nn.ConvTranspose1d() | nn.ConvTranspose2d() | nn.ConvTranspose3d():
            return ", ".join([f"transposed conv {_by(module.kernel_size)}",
                              *_settings(module, stride=1, padding=0, dilation=1, groups=1)])
        case nn.MaxPool1d() | nn.MaxPool2d() | nn.MaxPool3d():
            return ", ".join([f"max pool {_by(module.kernel_size, dims)}",
                              *_settings(module, stride=1, padding=0, dilation=1)])
        case nn.AvgPool1d() | nn.AvgPool2d() | nn.AvgPool3d():
            return ", ".join([f"average pool {_by(module.kernel_size, dims)}", *_settings(module, stride=1, padding=0)])
        case nn.AdaptiveAvgPool1d() | nn.AdaptiveAvgPool2d() | nn.AdaptiveAvgPool3d():
            return f"average pool to {_by(module.output_size, dims)}"
        case nn.LocalResponseNorm():
            return f"LRN over {module.size}"
        case nn.BatchNorm1d() | nn.BatchNorm2d() | nn.BatchNorm3d():
            return "batch norm"
        case nn.Dropout() | nn.Dropout2d():
            return f"dropout {module.p:g}"
        case nn.Linear() | nn.Flatten() | nn.Tanh() | nn.Sigmoid() | nn.Softmax() | nn.Identity():
            return name.lower()
        case nn.ReLU():
            return "ReLU in place" if module.inplace else "ReLU"
    return name


def _settings(module, **defaults):
    """What a layer was set to, other than the defaults."""
    words = {"padding": "pad"}
    return [f"{words.get(name, name)} {_pair(getattr(module, name))}" for name, default in defaults.items()
            if _pair(getattr(module, name)) != str(default)]


def _by(size, dims=0):
    return "×".join(map(str, size if isinstance(size, tuple | list) else [size] * dims))


def _pair(value):
    """(2, 2) and 2 as "2", (2, 1) as "2×1"."""
    values = value if isinstance(value, tuple | list) else [value]
    return str(values[0]) if len(set(values)) == 1 else _by(values)


def _size(size, channels_last=False):
    return _by([*size[1:], size[0]] if channels_last and len(size) == 3 else size)


def _rounded(number):
    """34,944 as "35K", 3,211,264 as "3.2M"."""
    for unit, letter in ((10**9, "G"), (10**6, "M"), (10**3, "K")):
        if number >= unit:
            return f"{number / unit:.{1 if number < 9.95 * unit else 0}f}{letter}"
    return str(number)


def _bytes(number):
    """Three digits: 12,845,056 as "12.8 MB"; a megabyte is a million bytes."""
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if number >= unit:
            short = number / unit
            return f"{short:.{2 if short < 9.995 else 1 if short < 99.95 else 0}f} {name}"
    return f"{number} B" if number else "0"
