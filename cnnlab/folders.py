"""Any folder that has a folder of images for each class, as NumPy arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def image_folder(path, size: int | tuple[int, int] | None = None) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """The images of a folder that has one folder for each class.

    size: height and width, or one number for both: each image is scaled to cover that, and its middle is cut out.
    Returns images (N, 3, H, W) uint8, labels (N,) int64, and the names of the folders, sorted, which labels count.
    Raises FileNotFoundError if there are no such folders or images, ValueError if the images differ in size and no
    size is given, or if one cannot be read.
    """
    from PIL import Image, ImageOps

    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is not a folder; give one that has a folder of images for each class.")
    size = (size, size) if isinstance(size, int) else size
    if size is not None and not (isinstance(size, tuple | list) and len(size) == 2
                                 and all(isinstance(n, int) and n > 0 for n in size)):
        raise ValueError(f"size is one number of pixels, or a height and a width; not {size!r}.")
    endings = {end for end, form in Image.registered_extensions().items() if form in Image.OPEN}
    names = sorted(p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    files = [(file, label) for label, name in enumerate(names) for file in sorted((root / name).rglob("*"))
             if file.suffix.lower() in endings and not file.name.startswith(".")]
    if not files:
        raise FileNotFoundError(f"{root} has no folders with images in them; there would be one for each class, such as "
                                f"{root / 'cat' / '1.jpg'}.")
    images = None
    for i, (file, _) in enumerate(files):
        try:
            with Image.open(file) as opened:
                image = ImageOps.exif_transpose(opened).convert("RGB")
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as e:  # what Pillow's readers raise
            raise ValueError(f"{file} cannot be read as an image: {e}") from e
        image = image if size is None else ImageOps.fit(image, size[::-1], Image.Resampling.BILINEAR)
        pixels = np.asarray(image).transpose(2, 0, 1)  # (H, W, 3) -> (3, H, W)
        if images is None:
            images = np.empty((len(files), *pixels.shape), np.uint8)
        if pixels.shape != images.shape[1:]:
            raise ValueError(f"{file} has {pixels.shape[1]}×{pixels.shape[2]} pixels and {files[0][0]} has "
                             f"{images.shape[2]}×{images.shape[3]}; give a size, as image_folder(path, size=64).")
        images[i] = pixels
    return images, np.array([label for _, label in files], np.int64), tuple(names)
