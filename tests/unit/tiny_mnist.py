"""MNIST with a hundred images."""

import gzip

import numpy as np


def write(folder):
    """Write MNIST's four IDX files, of 100 and 40 images each of which has its label written in it in light."""
    for part, n in (("train", 100), ("t10k", 40)):
        labels = np.arange(n, dtype=np.uint8) % 10
        images = np.zeros((n, 28, 28), np.uint8)
        images[np.arange(n), 4 + 2 * labels] = 255
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            sizes = np.array(array.shape, ">i4").tobytes()
            content = bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()
            (folder / f"{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(content))
