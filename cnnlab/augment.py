"""Augmentation: new training images from old, a whole batch at once, on the device where they lie.

Every function takes images (N, C, H, W) and a `torch.Generator` of their device, draws something else for each of the
images, and returns as many images of the same size.  What comes in from outside is 0, which is black.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def crop(images, generator, padding: int = 4):
    """Pad with zeros and cut a piece of the old size out, anywhere: a shift by up to `padding` pixels, keeps the dtype.

    As for CIFAR-10 in He et al., Deep Residual Learning, 2016, section 4.2.
    """
    n, _, h, w = images.shape
    padded = F.pad(images, [padding] * 4)
    top, left = torch.randint(2 * padding + 1, (2, n, 1, 1), generator=generator, device=images.device)
    rows = top + torch.arange(h, device=images.device)[:, None]  # (N, H, 1)
    columns = left + torch.arange(w, device=images.device)  # (N, 1, W)
    n_at = torch.arange(n, device=images.device)[:, None, None]
    return padded[n_at, :, rows, columns].movedim(-1, 1)  # (N, H, W, C) -> (N, C, H, W)


def flip(images, generator):
    """Mirror left and right in every second image, by chance.  Keeps the dtype."""
    chosen = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(chosen[:, None, None, None], images.flip(3), images)


def crop_flip(images, generator):
    """`crop`, then `flip`: the usual augmentation of CIFAR-10."""
    return flip(crop(images, generator), generator)


def affine(images, generator, **limits):
    """Turn, scale, shear and shift about the middle, by amounts drawn evenly up to the limits of `affine_field`."""
    return warp(images, affine_field(images, generator, **limits))


def elastic(images, generator, **strength):
    """Displace each pixel a little otherwise than its neighbours: `elastic_field`."""
    return warp(images, elastic_field(images, generator, **strength))


def distort(images, generator):
    """`affine` and `elastic` in one step, so that the pixels are interpolated only once: for handwriting."""
    return warp(images, affine_field(images, generator) + elastic_field(images, generator))


def affine_field(images, generator, degrees=10.0, scale=0.1, shear=0.15, shift=1.5):
    """Displacements (N, H, W, 2), x then y, in pixels, of an affine map drawn for each image.

    degrees: of a turn; scale: 0.1 for between 1/1.1 and 1.1 times the size; shear: pixels sideways per row;
    shift: pixels, each way.
    """
    n, device = len(images), images.device
    turn, size, slant, x, y = 2 * torch.rand(5, n, generator=generator, device=device) - 1
    turn, size, slant = turn * degrees * torch.pi / 180, (1 + scale) ** -size, slant * shear
    cos, sin = size * turn.cos(), size * turn.sin()
    matrix = torch.stack([cos, slant * cos - sin, sin, slant * sin + cos], 1).view(n, 2, 2)  # turn times shear
    at = _pixels(images)  # (H, W, 2)
    read = (at.flatten(0, 1) @ matrix.mT).view(n, *at.shape) + shift * torch.stack([x, y], 1)[:, None, None]
    return read - at


def elastic_field(images, generator, alpha: float = 34.0, sigma: float = 4.0):
    """Displacements (N, H, W, 2), x then y, in pixels: noise from -1 to 1, smoothed by a Gaussian, times `alpha`.

    sigma: of the Gaussian, in pixels.  Simard, Steinkraus & Platt, Best Practices for Convolutional Neural Networks
    Applied to Visual Document Analysis, 2003, section 2, with their values.
    """
    n, _, h, w = images.shape
    noise = 2 * torch.rand(n, 2, h, w, generator=generator, device=images.device) - 1
    smooth = [_blur(size, sigma, images.device) for size in (h, w)]
    return alpha * (smooth[0] @ noise @ smooth[1].T).movedim(1, -1)  # (N, 2, H, W) -> (N, H, W, 2)


def warp(images, displacements):
    """The images, each pixel read from elsewhere: (N, C, H, W) and displacements (N, H, W, 2), x then y, in pixels.

    Between pixels the values are interpolated linearly.  Returns floats.
    """
    h, w = images.shape[2:]
    # grid_sample counts from -1 to 1, from edge to edge of the image.
    grid = (_pixels(images) + displacements) * torch.tensor([2 / w, 2 / h], device=images.device)
    images = images if images.is_floating_point() else images.float()
    return F.grid_sample(images, grid.to(images.dtype), padding_mode="zeros", align_corners=False)


def _pixels(images):
    """(H, W, 2): x and y of the middle of every pixel, in pixels from the middle of the image."""
    h, w = images.shape[2:]
    y, x = (torch.arange(size, device=images.device) - (size - 1) / 2 for size in (h, w))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def _blur(size, sigma, device):
    """The matrix (size, size) that smooths a line of numbers by a Gaussian, with nothing beyond the ends."""
    at = torch.arange(size, device=device, dtype=torch.float32)
    weights = torch.exp(-((at[:, None] - at) / sigma) ** 2 / 2)
    whole = torch.arange(-4 * size, 4 * size + 1, device=device, dtype=torch.float32)
    return weights / torch.exp(-(whole / sigma) ** 2 / 2).sum()


NAMES = {"none": lambda images, generator: images, "crop": crop, "crop-flip": crop_flip, "affine": affine,
         "elastic": elastic, "distort": distort}


def named(name: str):
    """The augmentation a `Recipe` names.  Raises ValueError, with the names there are."""
    if name not in NAMES:
        raise ValueError(f"There is no augmentation {name!r}; choose one of {', '.join(NAMES)}.")
    return NAMES[name]
