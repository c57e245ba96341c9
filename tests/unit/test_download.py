"""Downloads from a real server on this machine that breaks off, errs, lies, or is not there."""

import dataclasses
import errno
import gzip
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import nbformat
import numpy as np
import pytest

from autograder.solutions import execute
from autograder.sources import KERNELSPEC, ROOT
from cnnlab import data, datafiles, environment
from cnnlab import download as module
from cnnlab.download import download, main

NAMES = [f"{name}-ubyte.gz" for name in datafiles.MNIST_SHA256]
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (40, 28, 28), dtype=np.uint8), RNG.integers(0, 10, 40, dtype=np.uint8)
CONTENT = {name: bytes([0, 0, 8, a.ndim]) + b"".join(n.to_bytes(4, "big") for n in a.shape) + a.tobytes()
           for name, a in zip(NAMES, (IMAGES, LABELS, IMAGES[:9], LABELS[:9]))}


class Mirror(BaseHTTPRequestHandler):
    """Serves CONTENT, in the way that the path's first folder says, and notes what is asked for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):  # noqa: N802
        way, name = self.path.strip("/").split("/")
        body = gzip.compress(CONTENT[name], 9 if way == "other" else 1, mtime=0)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        begin = int(asked[1]) if asked and way != "whole_only" else 0
        self.server.asked.append((way, name, begin if asked else None))
        self.close_connection = True
        if way == "missing":
            return self.send_error(404)
        if way == "broken":
            return self.send_error(500)
        if way == "liar":
            body = gzip.compress(b"something else" * 99)
        if way == "portal":
            body = b"<html>Please log in</html>"
        if begin >= len(body):
            return self.send_error(416)
        self.send_response(206 if begin else 200)
        if way != "unsaid":
            self.send_header("Content-Length", str(len(body) - begin))
        if begin:
            shift = 5 if way == "shifted" else 0
            self.send_header("Content-Range", f"bytes {begin + shift}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        step = len(body) // 4 + 1
        if way in ("breaks", "whole_only", "shifted"):
            self.wfile.write(body[begin:begin + step])
        elif way == "stalls" and not begin:
            self.wfile.write(body[:step])
            self.wfile.flush()
            self.server.stop.wait(60)
        elif way == "mute":
            self.server.stop.wait(60)
        else:
            self.wfile.write(body[begin:])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Mirror) as server:
        server.asked, server.stop = [], threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.stop.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """An empty CNNLAB_DATA, and no other folder to look in."""
    monkeypatch.setenv("CNNLAB_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(environment, "ROOT", tmp_path / "no checkout")
    return tmp_path


def small(port, *ways):
    """MNIST with the content of this file, to be had in these ways, one mirror each."""
    files = [datafiles.Download(f"mnist/{name}", tuple(f"http://127.0.0.1:{port}/{way}/{name}" for way in ways),
                                hashlib.sha256(CONTENT[name]).hexdigest(), packed=True) for name in NAMES]
    return dataclasses.replace(datafiles.DATA_SETS["mnist"], downloads=tuple(files))


@pytest.fixture
def mirrors(server, place, monkeypatch):
    def set_(*ways):
        monkeypatch.setitem(datafiles.DATA_SETS, "mnist", small(server.server_address[1], *ways))

    return set_


def arrived(place):
    """Whether all files are there, right, and alone."""
    found = {path.name: path for path in (place / "mnist").iterdir()}
    assert set(found) == set(NAMES)
    return all(gzip.decompress(found[name].read_bytes()) == CONTENT[name] for name in NAMES)


# ------------------------------------------------------------------ when it works

def test_it_is_fetched_on_request_read_and_not_fetched_again(place, mirrors, server, capsys):
    mirrors("good")
    with pytest.raises(FileNotFoundError, match="^MNIST is not here"):
        data.mnist()
    assert not server.asked
    train, test = data.mnist(download=True)
    np.testing.assert_array_equal(train.images, IMAGES)
    np.testing.assert_array_equal(test.labels, LABELS[:9])
    assert arrived(place) and [name for _, name, _ in server.asked] == NAMES
    data.mnist(download=True)
    assert download("mnist") == place / "mnist" and len(server.asked) == 4
    said = capsys.readouterr().out
    assert "train-images-idx3-ubyte.gz from 127.0.0.1, 0.0 MB …\n" in said
    assert f"MNIST is here: {place / 'mnist'}\n" in said


def test_each_break_is_resumed_where_it_broke(place, mirrors, server):
    mirrors("breaks")
    download("mnist")
    assert arrived(place)
    begins = [begin for _, name, begin in server.asked if name == NAMES[0]]
    step = len(gzip.compress(CONTENT[NAMES[0]], 1)) // 4 + 1
    assert begins == [None, step, 2 * step, 3 * step]


def test_a_connection_that_falls_silent_is_left_and_resumed(place, mirrors, server, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    mirrors("stalls")
    download("mnist")
    assert arrived(place) and [begin is None for *_, begin in server.asked] == [True, False] * 4


@pytest.mark.parametrize("way", ["unsaid", "other"])
def test_a_length_that_is_not_said_and_another_way_of_packing_do_no_harm(place, mirrors, way):
    mirrors(way)
    download("mnist")
    assert arrived(place)


@pytest.mark.parametrize("way", ["missing", "broken", "liar", "portal", "whole_only", "shifted", "mute"])
def test_a_mirror_that_fails_gives_way_to_the_next(place, mirrors, monkeypatch, way):
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    mirrors(way, "other")
    download("mnist")
    assert arrived(place)


def part_of(place, server, way):
    """The name under which the first file waits while it comes from a mirror."""
    url = f"http://127.0.0.1:{server.server_address[1]}/{way}/{NAMES[0]}"
    (place / "mnist").mkdir(exist_ok=True)
    return place / "mnist" / f"{NAMES[0]}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part"


def test_a_part_of_something_else_is_thrown_away(place, mirrors, server):
    mirrors("good")
    part_of(place, server, "good").write_bytes(b"of an older file, perhaps")
    download("mnist")
    assert arrived(place) and [begin for *_, begin in server.asked[:2]] == [25, None]


def test_a_part_that_was_whole_is_taken(place, mirrors, server):
    mirrors("good")
    body = gzip.compress(CONTENT[NAMES[0]], 1, mtime=0)
    part_of(place, server, "good").write_bytes(body)
    download("mnist")
    assert arrived(place) and server.asked[0][2] == len(body)


def test_a_part_from_one_mirror_is_not_continued_from_another(place, mirrors, server):
    mirrors("missing", "good")
    part_of(place, server, "missing").write_bytes(b"half")
    download("mnist")
    assert arrived(place) and server.asked[:2] == [("missing", NAMES[0], 4), ("good", NAMES[0], None)]


# ------------------------------------------------------------------ when it does not

@pytest.mark.parametrize(("way", "reason"), [
    ("missing", "404 Not Found"), ("broken", "500 Internal Server Error"), ("liar", "what it gave is not train-images"),
    ("whole_only", r"the connection broke off after [\d,]+ of [\d,]+ bytes"), ("mute", "timed out")])
def test_if_no_mirror_has_it_each_is_named_with_its_reason(place, mirrors, monkeypatch, way, reason):
    monkeypatch.setattr(module, "TIMEOUT", 0.3)
    mirrors(way, way)
    each = rf"127.0.0.1 \({reason}.*\)"
    with pytest.raises(ConnectionError, match=rf"^MNIST could not be downloaded from {each}, {each}; try again later, "
                                              rf".* or put {NAMES[0]} into "):
        download("mnist")
    assert not data.have("mnist") and not (place / "mnist" / NAMES[0]).exists()


def test_without_a_network_it_says_so(place, monkeypatch, capsys):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setitem(datafiles.DATA_SETS, "mnist", small(port, "good"))
    assert main(["mnist"]) == 1
    assert "127.0.0.1 (no connection: Connection refused); try again later" in capsys.readouterr().err
    monkeypatch.setitem(datafiles.DATA_SETS, "mnist", dataclasses.replace(
        small(port), downloads=(datafiles.Download("mnist/x", ("http://no-such-host.invalid/x",), "", True),)))
    with pytest.raises(ConnectionError, match=r"no-such-host.invalid \(no connection: "):
        data.mnist(download=True)


def test_what_is_no_fault_of_the_mirrors_is_not_blamed_on_them(place, mirrors, server, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    mirrors("good", "other")
    monkeypatch.setattr(module, "open", full, raising=False)
    with pytest.raises(OSError, match="No space left on device"):
        download("mnist")
    assert len(server.asked) == 1


def test_interrupted_it_keeps_what_has_come_and_goes_on_from_there(place, server):
    files = small(server.server_address[1], "stalls").downloads
    code = ("import dataclasses, sys; from cnnlab.datafiles import DATA_SETS, Download; from cnnlab import download; "
            f"DATA_SETS['mnist'] = dataclasses.replace(DATA_SETS['mnist'], downloads={files!r}); "
            "sys.exit(download.main(['mnist']))")
    run = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                           env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"})
    part = part_of(place, server, "stalls")
    until = time.monotonic() + 60
    while not (part.exists() and part.stat().st_size) and time.monotonic() < until:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 130 and "Interrupted.  What has come is kept" in said and not data.have("mnist")
    kept = part.stat().st_size
    server.stop.set()
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60, check=True,
                   stdout=subprocess.DEVNULL)
    assert ("stalls", NAMES[0], kept) in server.asked and arrived(place)


def test_where_nothing_can_be_written_it_says_what_to_set(place, mirrors, monkeypatch, capsys):
    mirrors("good")
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert main(["mnist"]) == 1
    assert re.match("MNIST cannot be kept: .* cannot be written to; set CNNLAB_DATA", capsys.readouterr().err)


# ------------------------------------------------------------------ the command, and what is to be had

@pytest.mark.parametrize("names", [[], ["imagenet"], ["mnist", "--all"]])
def test_any_other_command_is_answered_with_one_line(names, capsys):
    assert main(names) == 2
    said = capsys.readouterr().err
    assert said.startswith("usage: python -m cnnlab download mnist cifar10 ") and said.count("\n") == 1


def test_in_a_notebook_the_command_that_is_named_works(place, monkeypatch):
    for name in NAMES:
        (place / "mnist").mkdir(exist_ok=True)
        (place / "mnist" / name).write_bytes(gzip.compress(CONTENT[name]))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    cells = ["from cnnlab import data, datafiles\nprint(datafiles.command('mnist'))", "%run -m cnnlab download mnist"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells],
                                        metadata={"kernelspec": KERNELSPEC})
    execute(notebook)
    assert notebook.cells[0].outputs[0].text.strip() == cells[1]
    assert notebook.cells[1].outputs[0].text == f"MNIST is here: {place / 'mnist'}\n"


def test_where_lines_can_be_written_over_the_progress_is_one_line(place, mirrors, monkeypatch, capsys):
    mirrors("good")
    monkeypatch.setattr(environment, "in_kernel", lambda: True)
    download("mnist")
    lines = capsys.readouterr().out.splitlines()
    assert re.match(r"train-images-idx3-ubyte.gz from 127.0.0.1: 0\.0 of 0\.0 MB, \d\.\d MB/s", lines[1])


def test_every_file_has_several_mirrors_and_a_checksum():
    for data_set in datafiles.DATA_SETS.values():
        for file in data_set.downloads:
            assert len({url.split("/")[2] for url in file.mirrors}) >= 3 and re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert all(url.startswith("https://") and url.endswith(os.path.basename(file.file)) for url in file.mirrors)
        (best,) = [form for form in data_set.forms if len(form.files) == len(data_set.downloads) and all(
            os.path.basename(file.file) in names for file, names in zip(data_set.downloads, form.files))]
        assert best.original  # what is downloaded is found
