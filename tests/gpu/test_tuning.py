"""The fastest tile is measured once, kept in a file that may be lost or broken, and found again."""

import json
from types import SimpleNamespace

import pytest
import torch
import triton

from solutions.gpu.kernels.fast import tiles, tuning

TILES = [tiles.Tile(128, 64, 64, 4, 3), tiles.Tile(128, 64, 64, 8, 4, True), tiles.Tile(64, 64, 32, 4, 4)]


@pytest.fixture
def gpu(monkeypatch, tmp_path):
    """A device on which the second tile is fastest, and the list of what was measured."""
    measured = []
    cuda = {"is_available": lambda: True, "get_device_name": lambda: "NVIDIA H100",
            "is_current_stream_capturing": lambda: False}
    for name, value in cuda.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(tuning, "measure", lambda run: (run(), measured[-1].pixels + measured[-1].depth - 80
                                                        * measured[-1].persistent)[1])
    monkeypatch.setattr(tuning, "_known", {})
    monkeypatch.setenv("CNNLAB_CACHE", str(tmp_path / "cache"))
    return SimpleNamespace(measured=measured, file=tmp_path / "cache" / "kernels.json",
                           choose=lambda what="a": tuning.choose("forward", what, TILES, measured.append))


def test_each_is_measured_and_the_fastest_kept(gpu):
    assert gpu.choose() == gpu.choose() == TILES[2] and gpu.measured == TILES
    assert gpu.choose("b") == TILES[2] and gpu.measured == 2 * TILES
    key = f"NVIDIA H100, Triton {triton.__version__}, forward, "
    assert json.loads(gpu.file.read_text()) == {key + "a": list(TILES[2]), key + "b": list(TILES[2])}
    assert [p.name for p in gpu.file.parent.iterdir()] == ["kernels.json"], "nothing half-written is left"


def test_another_process_reads_it(gpu):
    gpu.choose()
    tuning._known.clear()
    assert gpu.choose() == TILES[2] and len(gpu.measured) == 3


def test_what_other_processes_wrote_meanwhile_stays(gpu):
    gpu.choose()
    gpu.file.write_text(json.dumps({"theirs": [1]}))
    gpu.choose("b")
    assert "theirs" in json.loads(gpu.file.read_text()) and len(json.loads(gpu.file.read_text())) == 3


@pytest.mark.parametrize("broken", ["", "{", "[1, 2]", "\x00\xff", '{"NVIDIA H100": 3}', "KEY: 7", "KEY: [1, 2, 3]",
                                    "KEY: {}", "KEY: null"])
def test_a_broken_file_is_measured_anew_and_written_whole(gpu, broken):
    gpu.file.parent.mkdir()
    key = json.dumps(f"NVIDIA H100, Triton {triton.__version__}, forward, a")
    gpu.file.write_text("{" + broken.replace("KEY", key) + "}" if "KEY" in broken else broken, encoding="latin-1")
    assert gpu.choose() == TILES[2] and gpu.measured == TILES
    assert json.loads(gpu.file.read_text())[json.loads(key)] == list(TILES[2])


def test_a_tile_that_is_no_candidate_any_more_is_measured_anew(gpu):
    gpu.choose()
    assert tuning.choose("forward", "a", TILES[:2], gpu.measured.append) == TILES[1]


def test_where_nothing_can_be_written_it_is_remembered(gpu):
    gpu.file.parent.write_text("a file where the folder would be")
    assert gpu.choose() == gpu.choose() == TILES[2] and len(gpu.measured) == 3


def test_while_a_graph_is_recorded_nothing_is_measured(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert gpu.choose() == TILES[0] and not gpu.measured


def test_tiles_that_do_not_fit_are_left_out_and_if_none_runs_it_says_so(gpu, monkeypatch):
    monkeypatch.setattr(tuning, "measure", lambda run: (run(), float("inf") if gpu.measured[-1].warps == 4 else 1)[1])
    assert gpu.choose() == TILES[1]
    monkeypatch.setattr(tuning, "measure", lambda run: float("inf"))
    with pytest.raises(RuntimeError, match="no tile of forward runs on NVIDIA H100: c"):
        gpu.choose("c")


@pytest.mark.parametrize("error", [triton.runtime.errors.OutOfResources(300_000, 232_448, "shared memory"),
                                   RuntimeError("Triton Error [CUDA]: invalid argument")], ids=["memory", "driver"])
def test_what_does_not_run_is_never_the_fastest(error):
    def run():
        raise error

    assert tuning.measure(run) == float("inf")


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU there is something to measure")
def test_in_the_interpreter_nothing_is_measured():
    assert tuning.choose("forward", "a", TILES, lambda tile: 1 / 0) == TILES[0]


def test_the_file_is_in_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("CNNLAB_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert tuning.place() == tmp_path / "cnnlab" / "kernels.json"


class Cuda:
    """A tensor of `dtype` on a GPU, for lists of tiles."""

    is_cuda, device = True, 0

    def __init__(self, dtype):
        self.size = dtype.itemsize

    def element_size(self):
        return self.size


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize(("filters", "channels"), [(8, 16), (32, 3 * 16), (64, 64), (96, 96), (256, 40), (1024, 256)])
def test_the_tiles_to_measure_are_few_and_fit_into_shared_memory(filters, channels, dtype):
    x = Cuda(dtype)
    found = tiles.candidates(filters, channels, x, persistent=True)
    assert 2 <= len(set(found)) == len(found) <= 8
    for tile in found:
        assert tile.stages * (tile.pixels + tile.filters) * tile.depth * dtype.itemsize <= 200_000
        assert 32 <= tile.depth * dtype.itemsize <= 128 and tile.pixels * tile.filters <= 2**15
    # The sum is padded with zeros by at most a third where few bytes at a time would not be.
    assert triton.cdiv(channels, found[0].depth) * found[0].depth <= max(4 / 3 * channels, 16)


@pytest.mark.parametrize(("filters", "columns", "positions"), [
    (32, 16, (5, 5)), (64, 64, (3, 3)), (96, 144, (3, 1)), (1024, 256, (1, 1))])
def test_the_sums_of_dw_are_shared_among_all_multiprocessors_but_not_too_thinly(
        filters, columns, positions, monkeypatch):
    monkeypatch.setattr(tiles, "multiprocessors", lambda x: 132)
    found = tiles.parts(filters, columns, positions, 14 * 14, 128, Cuda(torch.float16))
    assert 1 <= len(found) <= 14 and any(part.rows for part in found) == (positions == (3, 3))
    for part in found:
        blocks = positions[0] * (1 if part.rows else positions[1])
        programs = part.split * blocks * triton.cdiv(filters, part.filters) * triton.cdiv(columns, part.columns)
        assert programs <= 4 * 132 or part.split == 1
        assert part.split <= 14 * 14 * 128 // part.images // 4
        assert part.stages * (part.filters + (3 if part.rows else 1) * part.columns) * part.images * 2 <= 200_000
