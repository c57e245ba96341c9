"""What tests of kernels share: tensors in several orders of memory, poisoned results, and how near is near enough."""

from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from unittest.mock import patch

import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Of the largest value: float32 sums in another order, and the rounding of the result in the shorter dtypes.
TOLERANCE = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


@contextmanager
def float32_as(precision):
    """In the block convolutions multiply float32 as "ieee" or "tf32"."""
    before = torch.backends.cudnn.conv.fp32_precision
    torch.backends.cudnn.conv.fp32_precision = precision
    yield
    torch.backends.cudnn.conv.fp32_precision = before


@contextmanager
def poisoned(*modules):
    """In the block tensors that the modules make are full of NaN, with NaN around them, which must stay."""
    made = []

    def empty(*shape, dtype=None, device=None, memory_format=torch.contiguous_format):
        shape = shape[0] if isinstance(shape[0], tuple) else shape
        like = torch.empty_like(torch.zeros(shape, device="meta"), dtype=dtype, memory_format=memory_format)
        poison = float("nan") if like.dtype.is_floating_point else 77
        memory = torch.full((like.numel() + 64,), poison, dtype=like.dtype, device=device)
        made.append((memory, like.numel(), poison))
        return memory[32 : 32 + like.numel()].as_strided(shape, like.stride(), 32)

    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(patch.object(module, "torch", SimpleNamespace(**vars(torch) | {"empty": empty})))
        yield
    for memory, n, poison in made:
        beside = torch.cat([memory[:32], memory[32 + n :]])
        assert beside.isnan().all() if poison != poison else (beside == poison).all(), "written beside the result"


def draw(seed, *shape, dtype=torch.float32, layout="first"):
    """Random numbers, in one of the ways that memory may be ordered: a view of something larger, too."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator).to(DEVICE, dtype)
    if layout == "last" and len(shape) == 4:
        return x.to(memory_format=torch.channels_last)
    if layout == "view":
        larger = torch.full([2 * n + 1 for n in shape], float("nan"), dtype=dtype, device=DEVICE)
        view = larger[tuple(slice(1, None, 2) for _ in shape)]
        return view.copy_(x)
    return x


def near(ours, reference, what=""):
    """Equal up to rounding, of the result and of sums in another order."""
    assert ours.shape == reference.shape and torch.isfinite(ours).all(), what
    scale = reference.abs().max().clamp(min=1)
    assert ((ours.double() - reference).abs().max() / scale) < TOLERANCE[ours.dtype], what
