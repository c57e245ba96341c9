"""The window of a convolution or a pooling layer: its sizes, checked once, as all kernels take them."""

from __future__ import annotations

from dataclasses import dataclass


def pair(value: int | tuple[int, int], name: str, least: int) -> tuple[int, int]:
    """A number as (vertical, horizontal).  Raises ValueError unless it is an int, or two, of at least `least`."""
    both = (value, value) if isinstance(value, int) else tuple(value)
    if len(both) != 2 or not all(isinstance(v, int) and v >= least for v in both):
        raise ValueError(f"{name} is {value!r}; it is a whole number of at least {least}, or a pair of them")
    return both


@dataclass(frozen=True)
class Window:
    """R × S positions that slide over an image; every size is a pair (vertical, horizontal)."""

    size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @classmethod
    def of(cls, kernel_size, stride, padding, dilation=1) -> Window:
        """A window from sizes as PyTorch has them: numbers or pairs.  Raises ValueError on others."""
        return cls(pair(kernel_size, "kernel_size", 1), pair(stride, "stride", 1), pair(padding, "padding", 0),
                   pair(dilation, "dilation", 1))

    def output(self, H: int, W: int) -> tuple[int, int]:
        """How often the window fits: (P, Q), rounded down.  Raises ValueError where it does not fit once."""
        sizes = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(
            (H, W), self.size, self.stride, self.padding, self.dilation, strict=True))
        if min(sizes) < 1:
            raise ValueError(f"a window of {self.size} with dilation {self.dilation} does not fit into an image of "
                             f"{H}×{W} with padding {self.padding}")
        return sizes

    @property
    def numbers(self) -> tuple[int, ...]:
        """R, S, and both numbers of stride, padding and dilation: the order in which kernels take them."""
        return (*self.size, *self.stride, *self.padding, *self.dilation)
