"""What the figures of notebook 18 show of gathering, and of a ring of processes."""

from __future__ import annotations

import numpy as np
import pytest

from cnnlab import animation
from cnnlab.animation.gathering import readers, ring_rounds


@pytest.mark.parametrize("size, kernel, stride, padding", [((5, 6), 3, 2, 1), ((7, 5), (2, 3), (3, 1), (0, 2))])
def test_readers_are_those_whose_windows_hold_the_pixel(size, kernel, stride, padding):
    (R, S), (sh, sw), (ph, pw) = (v if isinstance(v, tuple) else (v, v) for v in (kernel, stride, padding))
    P, Q = (size[0] + 2 * ph - R) // sh + 1, (size[1] + 2 * pw - S) // sw + 1
    for h, w in np.ndindex(size):
        holds = {(p, q): (r, s) for p, q, r, s in np.ndindex(P, Q, R, S)
                 if (p * sh - ph + r, q * sw - pw + s) == (h, w)}
        assert readers(h, w, (P, Q), kernel, stride, padding) == holds


@pytest.mark.parametrize("p", [1, 2, 3, 5])
def test_a_ring_adds_up_in_two_times_p_minus_one_rounds_each_with_one_chunk_from_each(p):
    parts = np.random.default_rng(p).normal(size=(p, p))
    rounds = ring_rounds(parts)
    assert len(rounds) == 1 + 2 * (p - 1)
    np.testing.assert_allclose(rounds[-1][1], np.tile(parts.sum(0), (p, 1)))
    assert all((received.sum(1) == 1).all() for _, _, received in rounds[1:])
    if p > 1:  # then each process has the whole sum of one chunk
        assert np.isclose(rounds[p - 1][1], parts.sum(0)).any(1).all()


def test_the_players_play_and_show_nothing_while_nbgrader_grades(monkeypatch):
    gathered, ring = animation.gathering((2, 3), 2, stride=2, padding=1), animation.ring_all_reduce(np.eye(2))
    assert gathered.data.count("frames[") > 6 and ring.data.count("frames[") > 2
    monkeypatch.setenv("NBGRADER_EXECUTION", "1")
    assert animation.gathering((2, 3), 2) is None and animation.ring_all_reduce(np.eye(2)) is None
