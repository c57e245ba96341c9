"""MNIST and CIFAR-10 in every form they come in, folders of images, and files that are damaged or missing."""

import gzip
import io
import os
import pickle
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from autograder.sources import ROOT
from cnnlab import data, datafiles, datasets, environment

REAL = os.environ.get("CNNLAB_DATA")  # as it was before the tests set it
RNG = np.random.default_rng(0)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty CNNLAB_DATA, and a cache folder of its own."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("CNNLAB_DATA", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(environment, "ROOT", tmp_path / "no checkout")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(datasets, "_told", set())
    return folder


def idx(array):
    """An IDX file (LeCun's format) of a uint8 array."""
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def digits(n):
    return RNG.integers(0, 256, (n, 28, 28), dtype=np.uint8), RNG.integers(0, 10, n, dtype=np.uint8)


def write_mnist(folder, form="{}-idx{}-ubyte.gz"):
    """A small MNIST: ((images, labels), (images, labels)) as it was written."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = digits(7), digits(3)
    for part, (images, labels) in zip(("train", "t10k"), parts):
        for kind, array in (("images", images), ("labels", labels)):
            content = idx(array)
            path = folder / form.format(f"{part}-{kind}", array.ndim)
            path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return parts


def photographs():
    """Five training batches of 4 images and a test batch of 6: names, images (N, 3072) and labels."""
    return [(name, RNG.integers(0, 256, (n, 3072), dtype=np.uint8), RNG.permutation(10)[:n])
            for name, n in [*((f"data_batch_{i}", 4) for i in range(1, 6)), ("test_batch", 6)]]


def batch(images, labels, form):
    if form == "bin":
        return np.hstack([labels[:, None].astype(np.uint8), images]).tobytes()
    content = pickle.dumps({b"batch_label": b"a batch", b"labels": labels.tolist(), b"data": images}, protocol=2)
    return content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")  # as in 2009


def write_cifar(folder, form, archive):
    """A small CIFAR-10, form "py" or "bin", in a folder or an archive: the batches as they were written."""
    batches = photographs()
    top = f"cifar-10-batches-{form}"
    files = {f"{top}/{name}{'.bin' * (form == 'bin')}": batch(images, labels, form) for name, images, labels in batches}
    files[f"{top}/readme.html"] = b"<html>"
    if archive:
        name = {"py": "python", "bin": "binary"}[form]
        write_tar(folder / f"cifar-10-{name}.tar.gz", files, "w:gz")
    else:
        for name, content in files.items():
            (folder / name).parent.mkdir(exist_ok=True, parents=True)
            (folder / name).write_bytes(content)
    return batches


def write_tar(path, files, mode):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def jpeg(colour, form="JPEG"):
    out = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(out, form)
    return out.getvalue()


def recompressed():
    """Two images of each class to train and one to test, of one colour each: the class's, and red for the second."""
    return {f"cifar10-jpeg/{part}/{name}/{i:04d}.jpg": jpeg((200 * i, 20 * label, 0))
            for label, name in enumerate(data.class_names()) for part, n in (("train", 2), ("test", 1)) for i in range(n)}


# ------------------------------------------------------------------ MNIST

@pytest.mark.parametrize("form", ["mnist/{}-idx{}-ubyte.gz", "{}-idx{}-ubyte", "MNIST/raw/{}-idx{}-ubyte",
                                  "mnist/{}.idx{}-ubyte", "MNIST/{}.idx{}-ubyte.gz"])
def test_mnist_is_read_under_every_name_it_goes_by(place, form):
    folder, name = os.path.split(form)
    expected = write_mnist(place / folder, name)
    assert data.have("mnist")
    for split, (images, labels) in zip(data.mnist(), expected, strict=True):
        np.testing.assert_array_equal(split.images, images)
        np.testing.assert_array_equal(split.labels, labels)
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int64) and split.images.flags.writeable
    assert data.source("mnist") == (place / folder, "IDX", True)


@pytest.mark.skipif(not REAL, reason="CNNLAB_DATA is not set")
def test_the_real_mnist_is_itself():
    if not data.have("mnist"):
        pytest.skip("MNIST is not here")
    train, test = data.mnist()
    assert train.images.shape == (60000, 28, 28) and test.images.shape == (10000, 28, 28)
    assert train.labels[:8].tolist() == [5, 0, 4, 1, 9, 2, 1, 3] and np.bincount(test.labels)[7] == 1028
    assert round(train.images.sum(dtype=np.int64) / train.images.size / 255, 4) == 0.1307


def test_a_set_in_other_clothes_is_not_taken_for_mnist(place):
    write_mnist(place / "FashionMNIST" / "raw")  # which has files of the same names
    assert not data.have("mnist")


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_damaged_idx_file_is_never_read_as_if_it_were_whole(tmp_path_factory, more):
    folder = tmp_path_factory.mktemp("idx")
    content = idx(digits(3)[0])
    cut = more.draw(st.integers(0, len(content) - 1))
    path = folder / "x"
    path.write_bytes(content[:cut])
    with pytest.raises(ValueError, match="is no IDX file of bytes in 3 dimensions, or not all of it"):
        datasets._idx(path, 3)


@pytest.mark.parametrize("damage", [
    lambda content: content[:-9], lambda content: b"<html>not found</html>", lambda content: b"",
    lambda content: gzip.compress(idx(np.zeros((8, 28, 28), np.uint8))), lambda content: content[:50] + b"?" + content[51:]])
def test_a_damaged_file_is_named_with_what_to_do(place, damage):
    write_mnist(place)
    path = place / "train-images-idx3-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"^MNIST cannot be read from .*; delete train-images-idx3-ubyte.gz and what "
                                         r"belongs to it there, and run `.*-m cnnlab download mnist`\.$"):
        data.mnist()


# ------------------------------------------------------------------ CIFAR-10

@pytest.mark.parametrize("archive", [False, True])
@pytest.mark.parametrize("form", ["py", "bin"])
def test_cifar10_is_read_as_it_was_published(place, form, archive, capsys):
    batches = write_cifar(place / "cifar10", form, archive)
    train, test = data.cifar10()
    for split, some in ((train, batches[:5]), (test, batches[5:])):
        np.testing.assert_array_equal(split.images, np.concatenate([i for _, i, _ in some]).reshape(-1, 3, 32, 32))
        np.testing.assert_array_equal(split.labels, np.concatenate([labels for *_, labels in some]))
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int64)
    assert data.source("cifar10").original and "recompressed" not in capsys.readouterr().out
    assert data.class_names("cifar10")[3] == "cat" and len(data.class_names()) == 10


@pytest.mark.parametrize("archive", [False, True])
def test_recompressed_images_say_so_once_and_come_class_by_class_in_turn(place, archive, capsys):
    files = recompressed() | {"cifar10-jpeg/train/cat/.DS_Store": b"?", "cifar10-jpeg/train/._cat": b"?"}
    if archive:
        write_tar(place / "cifar10-jpeg.tar.xz", files, "w:xz")
    else:
        for name, content in files.items():
            (place / name).parent.mkdir(exist_ok=True, parents=True)
            (place / name).write_bytes(content)
    for _ in range(2):
        train, test = data.cifar10()
    assert train.labels.tolist() == [*range(10)] * 2 and test.labels.tolist() == [*range(10)]
    assert abs(train.images[13, :, 5, 5].astype(int) - [200, 60, 0]).max() <= 3  # lossy
    assert data.source("cifar10").original is False
    assert capsys.readouterr().out.count("recompressed as JPEG") == 1


def test_the_original_is_preferred_wherever_it_lies(place):
    write_tar(place / "cifar10-jpeg.tar.xz", recompressed(), "w:xz")
    write_cifar(datafiles.caches()[0], "py", True)
    assert data.source("cifar10").original and len(data.cifar10()[0].images) == 20


def test_what_is_decoded_is_kept_and_mapped_but_never_changed(place, monkeypatch, capsys):
    write_cifar(place, "bin", True)
    first, _ = data.cifar10()
    pixel = int(first.images[0, 0, 0, 0])
    first.images[0, 0, 0, 0] = 255 - pixel  # a learner's own business
    assert capsys.readouterr().out.count("unpacked into") == 1
    monkeypatch.setattr(datasets, "_decode", lambda found: pytest.fail("it was decoded again"))
    assert data.cifar10()[0].images[0, 0, 0, 0] == pixel and not capsys.readouterr().out
    (kept,) = datafiles.caches()[0].iterdir()
    assert kept.name.startswith("cifar10-") and len(list(kept.iterdir())) == 4


def test_what_was_kept_is_made_anew_if_it_is_damaged_or_the_files_are_others(place):
    write_cifar(place, "bin", True)
    expected = np.array(data.cifar10()[0].images)
    (kept,) = datafiles.caches()[0].iterdir()
    (kept / "train-images.npy").write_bytes(b"half")
    np.testing.assert_array_equal(data.cifar10()[0].images, expected)
    batches = write_cifar(place, "bin", True)
    os.utime(place / "cifar-10-binary.tar.gz", (1, 1))
    np.testing.assert_array_equal(data.cifar10()[1].images.reshape(6, -1), batches[5][1])


@pytest.mark.parametrize("fails", ["mkdtemp", "save", "rename"])
def test_where_nothing_can_be_kept_it_is_decoded_each_time(place, monkeypatch, fails):
    def full(*_, **__):
        raise OSError("No space left on device")

    batches = write_cifar(place, "py", False)
    monkeypatch.setattr({"mkdtemp": datasets.tempfile, "save": np, "rename": os}[fails], fails, full)
    np.testing.assert_array_equal(data.cifar10()[1].images.reshape(6, -1), batches[5][1])
    assert not list(datafiles.caches()[0].iterdir())
    monkeypatch.setattr(datafiles, "writable", lambda places: None)
    assert len(data.cifar10()[1].labels) == 6


def test_a_batch_that_asks_for_more_than_arrays_is_refused(place):
    write_cifar(place, "py", False)
    (place / "cifar-10-batches-py" / "data_batch_3").write_bytes(b"cos\nsystem\n(S'touch /tmp/owned'\ntR.")
    with pytest.raises(ValueError, match=r"^CIFAR-10 cannot be read .*asks for os.system, which no batch"):
        data.cifar10()


@pytest.mark.parametrize("damage", [
    lambda content: content[:2000], lambda content: b"<html>", lambda content: b"",
    lambda content: gzip.compress(b"not a tar")])
def test_a_damaged_archive_is_named(place, damage):
    write_cifar(place, "py", True)
    path = place / "cifar-10-python.tar.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match="^CIFAR-10 cannot be read from .*; delete cifar-10-python.tar.gz and"):
        data.cifar10()


@pytest.mark.parametrize("content", [b"", b"\0" * 3072, b"\x0b" + b"\0" * 3072])
def test_a_batch_with_part_of_a_record_or_an_unknown_label_is_refused(place, content):
    write_cifar(place, "bin", False)
    for i in range(1, 6):
        (place / "cifar-10-batches-bin" / f"data_batch_{i}.bin").write_bytes(content)
    with pytest.raises(ValueError, match="^CIFAR-10 cannot be read"):
        data.cifar10()


# ------------------------------------------------------------------ folders of images

def pictures(folder, **files):
    for name, image in files.items():
        label, _, file = name.partition("__")
        (folder / label).mkdir(parents=True, exist_ok=True)
        image.save(folder / label / file.replace("_", "."))
    return folder


def test_a_folder_of_class_folders_becomes_arrays(tmp_path):
    pictures(tmp_path, dog__a_png=Image.new("L", (5, 4), 9), cat__b_png=Image.new("RGB", (5, 4), (1, 2, 3)),
             cat__a_PNG=Image.new("RGBA", (5, 4), (4, 5, 6, 255)))
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    (tmp_path / "cat" / "._b.png").write_bytes(b"what macOS leaves")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    images, labels, names = data.image_folder(tmp_path)
    assert images.shape == (3, 3, 4, 5) and images.dtype == np.uint8
    assert labels.tolist() == [0, 0, 1] and labels.dtype == np.int64 and names == ("cat", "dog")
    assert images[:, :, 0, 0].tolist() == [[4, 5, 6], [1, 2, 3], [9, 9, 9]]


@pytest.mark.parametrize(("size", "shape"), [(6, (6, 6)), ((4, 8), (4, 8))])
def test_images_are_scaled_to_cover_the_size_and_cut_around_the_middle(tmp_path, size, shape):
    wide = Image.new("RGB", (30, 10), (255, 0, 0))
    wide.paste((0, 0, 255), (10, 0, 20, 10))  # blue in the middle
    pictures(tmp_path, a__wide_png=wide, a__tall_png=wide.rotate(90, expand=True))
    images, *_ = data.image_folder(tmp_path, size)
    assert images.shape[2:] == shape
    middle = images[:, :, shape[0] // 2, shape[1] // 2]
    assert middle.tolist() == [[0, 0, 255]] * 2


def test_a_photograph_stands_as_its_camera_was_held(tmp_path):
    image, exif = Image.new("RGB", (6, 4)), Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    (tmp_path / "a").mkdir()
    image.save(tmp_path / "a" / "x.jpg", exif=exif)
    assert data.image_folder(tmp_path)[0].shape == (1, 3, 6, 4)


def test_a_folder_that_will_not_do_is_refused_with_the_reason(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder; give one that has a folder of images for each"):
        data.image_folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="has no folders with images in them; there would be one for each class"):
        data.image_folder(tmp_path)
    pictures(tmp_path, a__x_png=Image.new("L", (3, 3)), b__y_png=Image.new("L", (4, 3)))
    with pytest.raises(ValueError, match=r"y.png has 3×4 pixels and .*x.png has 3×3; give a size, as image_folder\(path"):
        data.image_folder(tmp_path)
    (tmp_path / "a" / "x.png").write_bytes(jpeg((1, 2, 3), "PNG")[:60])
    with pytest.raises(ValueError, match=r"x.png cannot be read as an image: "):
        data.image_folder(tmp_path, 4)
    for size in (0, (3,), (3, -1), 2.5, "4x4"):
        with pytest.raises(ValueError, match="^size is one number of pixels, or a height and a width; not "):
            data.image_folder(tmp_path, size)


# ------------------------------------------------------------------ what is not here

def test_what_is_absent_is_told_in_one_sentence_with_the_folder_the_file_and_the_command(place):
    with pytest.raises(FileNotFoundError) as e:
        data.mnist()
    cache = datafiles.caches()[0]
    assert str(e.value) == (
        f"MNIST is not here: there is no mnist/train-images-idx3-ubyte.gz (and 3 more files) in {place} or {cache}; "
        f"download it once with `{environment.interpreter()} -m cnnlab download mnist`, or set CNNLAB_DATA to the folder "
        "it is in.")
    with pytest.raises(FileNotFoundError, match="^CIFAR-10 is not here: there is no cifar-10-python.tar.gz in "):
        data.cifar10()
    assert not data.have("mnist") and not data.have("cifar10")


def test_half_a_data_set_is_told_apart_from_none(place):
    write_mnist(place / "mnist")
    (place / "mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    assert not data.have("mnist")
    with pytest.raises(FileNotFoundError, match="^MNIST is not complete: .*t10k-labels-idx1-ubyte.gz is missing; download"):
        data.mnist()


@pytest.mark.parametrize("call", [data.have, data.source, data.class_names])
def test_an_unknown_data_set_is_answered_with_those_there_are(call):
    with pytest.raises(ValueError, match="^There is no data set 'imagenet'; choose one of mnist, cifar10.$"):
        call("imagenet")


def test_the_cache_is_a_checkouts_or_the_users(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/learner")
    monkeypatch.setenv("USERPROFILE", "/home/learner")
    monkeypatch.setenv("LOCALAPPDATA", "/home/learner/Local")
    for platform, folder in [("linux", ".cache"), ("darwin", "Library/Caches"), ("win32", "Local")]:
        monkeypatch.setattr(sys, "platform", platform)
        assert [str(p) for p in datafiles.caches()] == [f"/home/learner/{folder}/cnnlab"]
    (tmp_path / "data").mkdir()
    assert datafiles.caches()[0] == tmp_path / "data" / "cache"
    monkeypatch.setenv("CNNLAB_DATA", "/srv/data")
    assert str(datafiles.folders()[0]) == "/srv/data"


def test_a_place_that_cannot_be_made_is_passed_over(tmp_path):
    (tmp_path / "file").touch()
    assert datafiles.writable([tmp_path / "file" / "below", tmp_path / "new"]) == tmp_path / "new"
    assert (tmp_path / "new").is_dir() and datafiles.writable([tmp_path / "file"]) is None


def test_the_loaders_import_neither_torch_nor_pillow():
    code = "import sys, cnnlab.data; print({'torch', 'PIL', 'matplotlib', 'urllib.request'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True, env={"PYTHONPATH": str(ROOT)}) == "set()\n"


def test_the_folder_may_be_read_only(place):
    write_cifar(place, "bin", True)
    place.chmod(0o555)
    try:
        assert len(data.cifar10()[1].labels) == 6 and os.listdir(place) == ["cifar-10-binary.tar.gz"]
    finally:
        place.chmod(0o755)
        shutil.rmtree(place)
