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


def fields(**limits):
    none = dict(degrees=0.0, scale=0.0, shear=0.0, shift=0.0)
    return augment.affine_field(torch.zeros(2000, 1, 9, 13), seeded(), **none | limits)


def test_a_shift_is_the_same_everywhere_and_as_far_as_allowed():
    field = fields(shift=2.0)
    torch.testing.assert_close(field, field[:, :1, :1].expand_as(field))
    assert 1.9 < field.abs().max() <= 2 and field.mean().abs() < 0.1


def corner_and_edge(field):
    """Where the top right corner (6, -4) and the middle of the right edge (6, 0) are read."""
    return field[:, 0, -1] + torch.tensor([6.0, -4]), field[:, 4, -1] + torch.tensor([6.0, 0])


def test_a_turn_keeps_lengths_and_angles_and_the_middle():
    field = fields(degrees=30.0)
    assert field[:, 4, 6].abs().max() < 1e-5
    corner, edge = corner_and_edge(field)
    torch.testing.assert_close(corner.norm(dim=1), torch.full((2000,), 52 ** 0.5))
    angles = torch.atan2(edge[:, 1], edge[:, 0]) * 180 / torch.pi
    assert 29 < angles.max() <= 30.001 and -30.001 <= angles.min() < -29
    torch.testing.assert_close((corner * edge).sum(1), torch.full((2000,), 36.0))


def test_a_scale_is_between_its_inverse_and_itself():
    corner, edge = corner_and_edge(fields(scale=0.25))
    size = edge[:, 0] / 6
    torch.testing.assert_close(corner[:, 1], -4 * size)
    assert 1.24 < size.max() <= 1.2501 and 0.7999 <= size.min() < 0.81


def test_a_shear_moves_rows_sideways_only():
    corner, edge = corner_and_edge(fields(shear=0.5))
    assert (edge - torch.tensor([6.0, 0])).abs().max() < 1e-5 and (corner[:, 1] + 4).abs().max() < 1e-5
    assert 1.9 < (corner[:, 0] - 6).abs().max() <= 2


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
