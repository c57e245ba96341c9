"""Exercises of notebook 00: one function, to learn how an exercise works."""

import numpy as np

from autograder.exercise import Exercise, Mistake, call


def brighten(image, amount):
    """Oracle: NumPy's own clip of the sum."""
    return np.clip(np.asarray(image) + amount, 0, 1)


def by_loops(image, amount):
    out = image.copy()
    for i in range(image.shape[0]):
        for j in range(image.shape[1]):
            out[i, j] = min(1.0, max(0.0, image[i, j] + amount))
    return out


def by_minimum(image, amount):
    return np.minimum(np.maximum(image + amount, 0.0), 1.0)


def in_place(image, amount):
    image += amount
    return np.clip(image, 0, 1)


def wrap_around(image, amount):
    return (image + amount) % 1.0


MIXED = np.array([[0.0, 0.5, 0.9], [0.25, 1.0, 0.75]])

EXERCISES = [
    Exercise(
        id="brighten", points=1,
        oracle=brighten,
        probes=[call(np.array([[0.0, 0.25], [0.5, 0.875]]), 0.25), call(MIXED, 0.3), call(MIXED, -0.4),
                call(MIXED.T, 0.0)],
        random=lambda rng: call(rng.random(rng.integers(1, 6, 2)), rng.uniform(-1, 1)),
        mistakes=[
            Mistake("no_clipping", "The sum can leave the range from 0 to 1, and nothing brings it back "
                    "afterwards. What should a pixel of 0.9 become when 0.3 is added?",
                    lambda image, amount: image + amount),
            Mistake("clips_only_above", "Values above 1 are brought back, values below 0 are not. "
                    "The amount can be negative.", lambda image, amount: np.minimum(image + amount, 1.0)),
            Mistake("clips_only_below", "Values below 0 are brought back, values above 1 are not.",
                    lambda image, amount: np.maximum(image + amount, 0.0)),
            Mistake("multiplies", "The image is multiplied by 1 + amount; brightening here means adding.",
                    lambda image, amount: np.clip(image * (1 + amount), 0, 1)),
            Mistake("ignores_amount", "The result does not depend on `amount`.",
                    lambda image, amount: np.clip(image, 0, 1)),
            Mistake("wraps_around", "Values above 1 start again at 0: the brightest pixels turn dark.",
                    wrap_around),
            Mistake("changes_input", "The image that was passed in is changed.", in_place),
        ],
        alternatives=[by_loops, by_minimum],
        hints=[
            "A pixel of 0.9 gets 0.3 brighter. What is the whitest a pixel can be?",
            "With `amount = 0.25`:\n\n| image | image + amount | result |\n|---|---|---|\n"
            "| 0.00 | 0.25 | 0.25 |\n| 0.50 | 0.75 | 0.75 |\n| 0.875 | 1.125 | **1.00** |",
            "```\ntotal  <- image + amount          # (H, W), a new array\nresult <- total limited to [0, 1]"
            "\n```\n\nNumPy has one function that limits every element of an array to a range.",
            "`np.clip(array, low, high)` limits every element. Adding first and limiting afterwards matters: "
            "the sum is what can leave the range.",
        ],
    ),
]
