"""MNIST and CIFAR-10 as NumPy arrays: uint8 images, int64 labels, nothing scaled or shuffled."""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import os
import pickle
import re
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnnlab import datafiles

PARTS = ("train", "test")
_told = set()  # what has been said once in this process


class Split(NamedTuple):
    """Images and their labels: (N, C, H, W) or (N, H, W) uint8, and (N,) int64."""

    images: np.ndarray
    labels: np.ndarray


class Source(NamedTuple):
    """Where a data set is read from.

    form: "IDX", "Python", "binary" or "JPEG".
    original: the images are those that were published; results on others are not to be compared with papers.
    """

    path: Path
    form: str
    original: bool


def mnist(download: bool = False) -> tuple[Split, Split]:
    """The 70,000 handwritten digits of MNIST, as (training, test).

    Images (60000, 28, 28) and (10000, 28, 28) uint8, 0 for paper and 255 for ink; labels 0 to 9.
    download: fetch it first if it is not here.
    Raises FileNotFoundError, which says how to get it, if it is not here; ConnectionError if it cannot be downloaded.
    Source: LeCun, Bottou, Bengio & Haffner, Gradient-based learning applied to document recognition, 1998.
    """
    found = _found("mnist", download)
    with _reading("mnist", found):
        arrays = [_idx(path, dims) for path, dims in zip(found.paths, (3, 1, 3, 1))]
        return _split(*arrays[:2], 10), _split(*arrays[2:], 10)


def cifar10(download: bool = False) -> tuple[Split, Split]:
    """The 60,000 small photographs of CIFAR-10, as (training, test).

    Images (50000, 3, 32, 32) and (10000, 3, 32, 32) uint8, red, green, blue; labels 0 to 9, named by `class_names`.
    The first call unpacks them into the cache folder; later ones map that into memory.
    If all there is are images recompressed as JPEG, a line says so, once, and `source("cifar10").original` is False.
    These come one class after the other; they are given in turns, so that every part of them holds all classes.
    download: fetch it first if it is not here.
    Raises FileNotFoundError, which says how to get it, if it is not here; ConnectionError if it cannot be downloaded.
    Source: Krizhevsky, Learning multiple layers of features from tiny images, 2009.
    """
    found = _found("cifar10", download)
    if not found.form.original:
        _say_once(f"CIFAR-10 is read from {found.folder}, where it is recompressed as JPEG: accuracies on it are not "
                  f"those on the original, which `{datafiles.command('cifar10')}` fetches.")
    with _reading("cifar10", found):
        return _cached("cifar10", found, lambda: _decode(found))


def have(name: str) -> bool:
    """Whether the data set `name`, "mnist" or "cifar10", is on this machine; nothing is read or downloaded."""
    return datafiles.find(name) is not None


def source(name: str) -> Source:
    """Where `name` is read from, and whether that is the original.  Raises FileNotFoundError if it is not here."""
    found = _found(name)
    return Source(found.paths[0] if len(found.paths) == 1 else found.paths[0].parent, found.form.name,
                  found.form.original)


def class_names(name: str = "cifar10") -> tuple[str, ...]:
    """The names of the classes of a data set, in the order of its labels."""
    return datafiles.data_set(name).classes


# ---------------------------------------------------------------------------- finding, and saying what is wrong

def _found(name, download=False):
    found = datafiles.find(name)
    if found is None and download:
        from cnnlab.download import download as fetch

        fetch(name)
        found = datafiles.find(name)
    if found is None:
        raise FileNotFoundError(datafiles.absent(name))
    return found


@contextmanager
def _reading(name, found):
    """Whatever is wrong with a file, one sentence that names it."""
    try:
        yield
    except Exception as e:  # noqa: BLE001  a damaged file makes its reader raise anything
        raise ValueError(f"{datafiles.data_set(name).title} cannot be read from {found.folder} ({_reason(e)}); "
                         f"delete {found.paths[0].name} and what belongs to it there, and run "
                         f"`{datafiles.command(name)}`.") from e


def _reason(error):
    said = str(error) if isinstance(error, OSError | ValueError | EOFError) else ""
    return said.strip(".") or f"{type(error).__name__}: {error}"


def _split(images, labels, classes):
    if len(images) != len(labels):
        raise ValueError(f"{len(images)} images and {len(labels)} labels")
    if not len(labels):
        raise ValueError("there is not one image in it")
    if not 0 <= labels.min() <= labels.max() < classes:
        raise ValueError(f"labels from {labels.min()} to {labels.max()}")
    return Split(images, labels.astype(np.int64))


def _say_once(text):
    if text not in _told:
        _told.add(text)
        print(text)


# ---------------------------------------------------------------------------- formats

def _idx(path, dims):
    """An IDX file: two zeros, the type (8 for uint8), how many sizes, the sizes as big-endian int32, the values."""
    content = path.read_bytes()
    content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
    start = 4 + 4 * dims
    sizes = [int.from_bytes(content[i:i + 4]) for i in range(4, start, 4)]
    if content[:4] != bytes([0, 0, 8, dims]) or len(content) != start + math.prod(sizes):
        raise ValueError(f"{path.name} is no IDX file of bytes in {dims} dimension{'s' * (dims > 1)}, or not all of it")
    return np.frombuffer(bytearray(content), np.uint8, offset=start).reshape(sizes)


def _decode(found):
    members = dict(_members(found.paths))
    if found.form.name == "JPEG":
        return _jpeg(members)
    parts = []
    for wanted in ([f"data_batch_{i}" for i in range(1, 6)], ["test_batch"]):
        batches = [_batch(members[name], found.form.name) for name in wanted]
        images, labels = (np.concatenate(some) for some in zip(*batches))
        parts.append(_split(images.reshape(-1, 3, 32, 32), labels, 10))
    return tuple(parts)


def _members(paths):
    """The files of an archive or of folders: (name, bytes), the name without what all of them have."""
    import tarfile

    for path in paths:
        if path.is_dir():
            for file in path.rglob("*"):
                if file.is_file():
                    yield "/".join(file.parts[-3:]), file.read_bytes()
        elif ".tar" in path.name:
            with tarfile.open(path, "r|*") as archive:
                for member in archive:
                    if member.isfile():
                        name = "/".join(Path(member.name).parts[1:])
                        yield name.removesuffix(".bin"), archive.extractfile(member).read()
        else:
            yield path.name.removesuffix(".bin"), path.read_bytes()


def _batch(content, form):
    """One batch of CIFAR-10: images (N, 3072) and labels (N,) uint8."""
    if form == "binary":  # a label and 3,072 pixels, again and again
        records = np.frombuffer(content, np.uint8).reshape(-1, 3073)
        return records[:, 1:], records[:, 0]
    batch = _Arrays(io.BytesIO(content), encoding="bytes").load()
    return np.asarray(batch[b"data"], np.uint8), np.array(batch[b"labels"], np.uint8)


class _Arrays(pickle.Unpickler):
    """Reads pickled arrays and nothing else: a pickle can name any function to be called."""

    ALLOWED = {("_codecs", "encode"), ("numpy", "ndarray"), ("numpy", "dtype"),
               ("numpy._core.multiarray", "_reconstruct")}

    def find_class(self, module, name):
        module = module.replace("numpy.core.", "numpy._core.")  # as NumPy 1 called it
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no batch of images needs")
        return super().find_class(module, name)


def _jpeg(members):
    from PIL import Image

    places = {(part, name): label for part in PARTS for label, name in enumerate(class_names("cifar10"))}
    of = {part: [] for part in PARTS}
    for path, content in members.items():  # "train/airplane/0000.jpg"
        *place, file = path.split("/")
        if tuple(place) in places and re.fullmatch(r"\d+\.jpe?g", file):
            of[place[0]].append((int(file.split(".")[0]), places[tuple(place)], content))
    parts = []
    for part in PARTS:
        files = sorted(of[part])  # the first of each class, the second of each …
        images = np.empty((len(files), 3, 32, 32), np.uint8)
        for i, (_, _, content) in enumerate(files):
            images[i] = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).transpose(2, 0, 1)
        parts.append(_split(images, np.array([label for _, label, _ in files], np.int64), 10))
    return tuple(parts)


# ---------------------------------------------------------------------------- what was decoded is kept

def _cached(name, found, decode):
    """The arrays that `decode` gives, from files of their own if they were decoded before."""
    place = datafiles.writable(datafiles.caches())
    if place is None:
        return decode()
    stats = [(p.name, s.st_size, s.st_mtime_ns) for p in found.paths for s in [os.stat(p)]]
    folder = place / f"{name}-{hashlib.sha256(repr(stats).encode()).hexdigest()[:12]}"
    if kept := _kept(folder):
        return kept
    print(f"{datafiles.data_set(name).title} is unpacked into {folder}, once …", flush=True)
    parts = decode()
    _keep(folder, parts)
    return _kept(folder) or parts


def _kept(folder):
    """The arrays in `folder`, mapped into memory; what is written to them is written to no file.  None if not there."""
    try:
        return tuple(Split(*(np.load(folder / f"{part}-{kind}.npy", mmap_mode="c").view(np.ndarray)
                             for kind in Split._fields)) for part in PARTS)
    except (OSError, ValueError, EOFError):
        return None


def _keep(folder, parts):
    """Write arrays into `folder`, all or none."""
    made = None
    try:
        shutil.rmtree(folder, ignore_errors=True)  # if it is there, it could not be read
        made = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f"{folder.name}."))
        for part, split in zip(PARTS, parts, strict=True):
            for kind, array in split._asdict().items():
                np.save(made / f"{part}-{kind}.npy", array)
        os.rename(made, folder)
    except OSError:  # the disk is full, or another process was first
        if made:
            shutil.rmtree(made, ignore_errors=True)
