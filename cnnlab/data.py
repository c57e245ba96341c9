"""Images to work on.

`digits` and `photo` come with scikit-learn and Matplotlib.  `mnist` and `cifar10` are downloaded, once, if they are
asked to; `have` says whether they are here.  `image_folder` reads any folder of class folders.
"""

from __future__ import annotations

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from cnnlab.datasets import cifar10, class_names, have, mnist, source
from cnnlab.folders import image_folder

__all__ = ["PHOTOS", "cifar10", "class_names", "digits", "grey", "have", "image_folder", "mnist", "photo", "source"]

PHOTOS = ("china", "flower", "hopper")


def digits() -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 handwritten digits of scikit-learn.

    Returns images (1797, 8, 8) float64 from 0 to 16, and labels (1797,) int64.
    Source: Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    with gzip.open(_sklearn("data/digits.csv.gz"), "rt") as f:
        table = np.loadtxt(f, delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)


def photo(name: str) -> np.ndarray:
    """A colour photograph: "china" or "flower" (427 x 640), or "hopper" (600 x 512).

    Returns (H, W, 3) float64 from 0 to 1.  Raises ValueError for any other name.
    """
    if name not in PHOTOS:
        raise ValueError(f"There is no photo {name!r}; choose one of {', '.join(PHOTOS)}.")
    from matplotlib import cbook
    from matplotlib.image import imread

    if name == "hopper":
        with cbook.get_sample_data("grace_hopper.jpg") as f:
            return imread(f, format="jpg") / 255
    return imread(_sklearn(f"images/{name}.jpg")) / 255


def grey(image: np.ndarray) -> np.ndarray:
    """The brightness of a colour image: (H, W, 3) -> (H, W), weights of ITU-R BT.601."""
    return image @ np.array([0.299, 0.587, 0.114])


def _sklearn(path: str) -> Path:
    # Read the file itself: importing sklearn.datasets would take a second.
    spec = find_spec("sklearn")
    if spec is None:
        raise ModuleNotFoundError("The built-in images come with scikit-learn, which is not installed; "
                                  "run `pip install scikit-learn`.")
    return Path(spec.submodule_search_locations[0]) / "datasets" / path
