"""Augmentation: each image gets its own change, of the size that was asked for, and the seed decides."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from cnnlab import augment

IMAGES = torch.from_numpy(np.random.default_rng(0).integers(1, 256, (6, 3, 9, 13), dtype=np.uint8))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", augment.NAMES)
def test_size_is_kept_and_the_seed_decides(name):
    change = augment.named(name)
    before = IMAGES.clone()
    a, b, c = (change(IMAGES, seeded(s)) for s in (1, 1, 2))
    assert a.shape == IMAGES.shape and torch.equal(a, b) and torch.equal(IMAGES, before)
    assert torch.equal(a, c) == (name == "none")
    assert a.min() >= 0 and a.max() <= 255


def test_a_crop_is_a_shift_by_whole_pixels_with_black_beyond():
    found = set()
    for seed in range(30):
        for image, cropped in zip(IMAGES, augment.crop(IMAGES, seeded(seed), padding=2), strict=True):
            padded = torch.nn.functional.pad(image, [2] * 4)
            at = [(y, x) for y in range(5) for x in range(5) if torch.equal(padded[:, y:y + 9, x:x + 13], cropped)]
            assert len(at) == 1
            found.update(at)
    assert len(found) == 25


def test_a_flip_mirrors_left_and_right_in_about_half():
    flipped = [torch.equal(b, a.flip(2)) for seed in range(50)
               for a, b in zip(IMAGES, augment.flip(IMAGES, seeded(seed)), strict=True) if not torch.equal(a, b)]
    assert all(flipped) and 110 < len(flipped) < 190


def test_without_displacement_nothing_moves():
    torch.testing.assert_close(augment.warp(IMAGES, torch.zeros(6, 9, 13, 2)), IMAGES.float(), atol=1e-3, rtol=0)


def test_a_warp_reads_where_it_is_told_as_scipy_does():
    shift = torch.rand(6, 9, 13, 2, generator=seeded()) * 4 - 2
    ours = augment.warp(IMAGES, shift)
    y, x = np.mgrid[:9, :13]
    for n in range(6):
        at = [y + shift[n, ..., 1].numpy(), x + shift[n, ..., 0].numpy()]
        for c in range(3):
            padded = np.pad(IMAGES[n, c].numpy().astype(float), 4)
            theirs = ndimage.map_coordinates(padded, [a + 4 for a in at], order=1)
            np.testing.assert_allclose(ours[n, c], theirs, atol=0.01)


def test_without_amounts_an_affine_map_moves_nothing():
    assert augment.affine_map(IMAGES).abs().max() < 1e-5


def moved(image, **amounts):
    return augment.warp(image[None], augment.affine_map(image[None], **amounts))[0]


def test_a_shift_goes_right_and_down():
    black = torch.zeros(3, 9, 13)
    black[:, 3:, 2:] = IMAGES[0, :, :-3, :-2]
    torch.testing.assert_close(moved(IMAGES[0], right=2, down=3), black, atol=1e-3, rtol=0)


def test_a_quarter_turn_is_clockwise():
    square = IMAGES[0, :, :, :9]
    torch.testing.assert_close(moved(square, degrees=90), square.float().rot90(-1, (1, 2)), atol=1e-2, rtol=0)


def test_twice_the_size_shows_the_middle_half():
    larger = moved(IMAGES[0], scale=2.0)
    torch.testing.assert_close(larger[:, ::2, ::2], IMAGES[0, :, 2:7, 3:10].float(), atol=1e-3, rtol=0)


def test_a_shear_moves_rows_sideways():
    sheared = moved(IMAGES[0], shear=1.0)
    for y in range(9):
        np.testing.assert_allclose(sheared[:, y], moved(IMAGES[0], right=y - 4.0)[:, y], atol=1e-2)


def test_shear_turn_scale_and_shift_are_applied_in_this_order():
    # Where a point of light goes, by hand.
    image = torch.zeros(1, 41, 41)
    image[0, 20 - 6, 20 + 4] = 1
    x, y = 4 + 0.5 * -6, -6  # sheared
    x, y = -y, x  # turned by 90 degrees, clockwise where y points down
    x, y = 1.5 * x + 3, 1.5 * y - 2
    after = moved(image, degrees=90, scale=1.5, shear=0.5, right=3, down=-2)[0]
    at = torch.nonzero(after > 0).float()
    assert (at.mean(0) - torch.tensor([20 + y, 20 + x])).abs().max() < 0.6


@pytest.mark.parametrize("limit, amount, low, high", [
    ("degrees", lambda m: torch.atan2(m[:, 0, 1], m[:, 0, 0]) * 180 / torch.pi, -30, 30),
    ("scale", lambda m: 1 / m[:, 0, 0], 1 / 31, 31),
    ("shear", lambda m: -m[:, 0, 1], -30, 30),
    ("shift", lambda m: -m[:, 0, 2], -30, 30), ("shift", lambda m: -m[:, 1, 2], -30, 30)])
def test_amounts_are_drawn_for_each_image_up_to_their_limits(limit, amount, low, high):
    none = dict(degrees=0.0, scale=0.0, shear=0.0, shift=0.0)
    images = torch.zeros(2000, 1, 3, 3)
    read = augment.affine_field(images, seeded(), **none | {limit: 30.0})
    origin = read[:, 1, 1]
    matrix = torch.stack([read[:, 1, 2] - origin + torch.tensor([1.0, 0]),
                          read[:, 2, 1] - origin + torch.tensor([0, 1.0]), origin], 2)  # of [x, y, 1]
    drawn = amount(matrix)
    spread = (torch.log if limit == "scale" else lambda v: v)(drawn)
    assert low * 1.001 - 0.001 <= drawn.min() and drawn.max() <= high * 1.001
    assert spread.max() > 0.98 * spread.abs().max() and spread.min() < -0.95 * spread.abs().max()
    assert spread.mean().abs() < 0.1 * spread.abs().max()


def test_an_elastic_field_is_smoothed_noise_as_scipy_smooths_it():
    field = augment.elastic_field(torch.zeros(2, 1, 28, 20), seeded(), alpha=34, sigma=4)
    noise = 2 * torch.rand(2, 2, 28, 20, generator=seeded()).numpy() - 1
    theirs = 34 * ndimage.gaussian_filter(noise, (0, 0, 4, 4), mode="constant", truncate=8)
    np.testing.assert_allclose(field.permute(0, 3, 1, 2), theirs, atol=1e-4)


def test_elastic_displacements_of_digits_are_of_one_or_two_pixels():
    size = augment.elastic_field(torch.zeros(200, 1, 28, 28), seeded()).pow(2).mean().sqrt()
    assert 0.8 < size < 1.6  # 34 / sqrt(3) / (2 * 4 * sqrt(pi)) = 1.38 in the middle, less at the edges


def test_an_unknown_name_is_answered_with_those_there_are():
    with pytest.raises(ValueError, match="There is no augmentation 'blur'; choose one of none, crop, crop-flip"):
        augment.named("blur")
