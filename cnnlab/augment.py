"""Augmentation: new training images from old, a whole batch at once, on the device where they lie.

Every function takes images (N, C, H, W) and a `torch.Generator` of their device, draws something else for each of the
images, and returns as many images of the same size.  What comes in from outside is 0, which is black.
"""

from __future__ import annotations

import math

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
    """Turn, scale, shear and shift, by amounts drawn up to the limits of `affine_field`."""
    return warp(images, affine_field(images, generator, **limits))


def elastic(images, generator, **strength):
    """Displace each pixel a little otherwise than its neighbours, as `elastic_field` says."""
    return warp(images, elastic_field(images, generator, **strength))


def distort(images, generator):
    """`affine`, and `elastic` half as strong as usual, with the pixels interpolated only once: for handwriting.

    Half, since the two add up, and LeNet-5, small as it is, learns less of what is distorted more.
    """
    return warp(images, affine_field(images, generator) + elastic_field(images, generator, alpha=17.0))


def affine_field(images, generator, degrees=7.5, scale=0.075, shear=0.1, shift=1.0):
    """For `warp`, the `affine_map` of amounts drawn evenly for each image.

    Degrees either way; sizes between 1 / (1 + scale) and 1 + scale, as often smaller as larger; shear and pixels of
    shift either way.
    """
    turn, size, slant, right, down = 2 * torch.rand(5, len(images), generator=generator, device=images.device) - 1
    return affine_map(images, degrees * turn, (1 + scale) ** size, shear * slant, shift * right, shift * down)


def affine_map(images, degrees=0.0, scale=1.0, shear=0.0, right=0.0, down=0.0):
    """For `warp`, displacements (N, H, W, 2) that shear, turn clockwise and scale about the middle, and then shift.

    Each amount is a number or one for each image (N,): degrees, times, pixels sideways a row, pixels, pixels.
    """
    n, device = len(images), images.device
    turn, scale, shear, right, down = (torch.as_tensor(v, dtype=torch.float32, device=device).expand(n)
                                       for v in (degrees, scale, shear, right, down))
    cos, sin = (turn * torch.pi / 180).cos() / scale, (turn * torch.pi / 180).sin() / scale
    # The inverse map: where to read what comes to lie here.
    matrix = torch.stack([cos + shear * sin, sin - shear * cos, -sin, cos], 1).view(n, 2, 2)
    here = _pixels(images)  # (H, W, 2)
    unshifted = here.flatten(0, 1) - torch.stack([right, down], 1)[:, None]  # (N, H W, 2)
    return (unshifted @ matrix.mT).view(n, *here.shape) - here


def elastic_field(images, generator, alpha: float = 34.0, sigma: float = 4.0):
    """For `warp`, displacements (N, H, W, 2): noise from -1 to 1, smoothed by a Gaussian of `sigma`, times `alpha`.

    Simard, Steinkraus & Platt, Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis,
    2003, section 2, with their values.
    """
    n, _, h, w = images.shape
    noise = 2 * torch.rand(n, 2, h, w, generator=generator, device=images.device) - 1
    return alpha * blur(noise, sigma).movedim(1, -1)  # (N, 2, H, W) -> (N, H, W, 2)


def blur(images, sigma: float):
    """Smooth by a Gaussian of standard deviation `sigma` pixels.  Returns floats."""
    rows, columns = (_gaussian(size, sigma, images.device) for size in images.shape[2:])
    return rows @ images.float() @ columns.T


def warp(images, displacements):
    """The images, each pixel read from elsewhere: displacements (N, H, W, 2), x then y, in pixels.

    Between pixels the values are interpolated linearly.  Returns floats.
    """
    h, w = images.shape[2:]
    # grid_sample counts from -1 to 1, from edge to edge of the image.
    grid = (_pixels(images) + displacements) * torch.tensor([2 / w, 2 / h], device=images.device)
    return F.grid_sample(images.float(), grid, padding_mode="zeros", align_corners=False)


def _pixels(images):
    """(H, W, 2): x and y of the middle of every pixel, in pixels from the middle of the image."""
    h, w = images.shape[2:]
    y, x = (torch.arange(size, device=images.device) - (size - 1) / 2 for size in (h, w))
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def _gaussian(size, sigma, device):
    """The matrix (size, size) that smooths a line of numbers, beyond the ends of which there are zeros."""
    at = torch.arange(size, device=device, dtype=torch.float32)
    reach = torch.arange(-math.ceil(6 * sigma), math.ceil(6 * sigma) + 1, device=device, dtype=torch.float32)
    return _bell(at[:, None] - at, sigma) / _bell(reach, sigma).sum()


def _bell(x, sigma):
    return torch.exp(-(x / sigma) ** 2 / 2)


NAMES = {"none": lambda images, generator: images, "crop": crop, "crop-flip": crop_flip, "affine": affine,
         "elastic": elastic, "distort": distort}


def named(name: str):
    """The augmentation a `Recipe` names.  Raises ValueError, with the names there are."""
    if name not in NAMES:
        raise ValueError(f"There is no augmentation {name!r}; choose one of {', '.join(NAMES)}.")
    return NAMES[name]
