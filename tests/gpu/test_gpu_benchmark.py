"""The benchmark of the convolution kernels counts right, and writes down what it prints."""

import io
import json
import sys

import pytest
import torch
import torch.nn.functional as F
from rich.console import Console

from benchmarks import gpu_conv
from benchmarks.gpu_conv import H100, LAYERS, PASSES, Layer

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TINY = [Layer(16, 8, 5, 8, 3, 2, 1), Layer(16, 3, 4, 8, 2, 2, 0)]


def text(table):
    console = Console(width=130, record=True, file=io.StringIO())
    console.print(table)
    return console.export_text()


@pytest.mark.parametrize("layer", [*TINY, LAYERS[9]._replace(N=2), LAYERS[0]._replace(N=1)], ids=str)
def test_operations_and_bytes_are_those_of_the_tensors(layer):
    x, weight = torch.empty(layer.N, layer.C, layer.H, layer.H, device="meta"), torch.empty(
        layer.K, layer.C, layer.R, layer.R, device="meta")
    y = F.conv2d(x, weight, None, layer.stride, layer.padding)
    assert layer.operations == 2 * y.numel() * weight[0].numel()
    assert layer.bytes == 2 * (x.numel() + weight.numel() + y.numel())
    assert layer.floors(H100) == (layer.operations / 989e12, layer.bytes / 3.35e12)


def test_the_floors_of_all_fourteen_layers_are_printed_without_a_gpu(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu_conv", "--floors"])
    gpu_conv.main()
    lines = capsys.readouterr().out.splitlines()
    assert sum("arithmetic" in line or "bytes" in line for line in lines) == 1 + len(LAYERS) == 15
    # 2 · 128 · 14² · 1024 · 256 operations, and 2 · (128 · 14² · (256 + 1024) + 256 · 1024) bytes.
    line = next(line for line in lines if "128, 256, 14, 1024, 1, 1, 0" in line)
    assert [cell.strip() for cell in line.split("│")[2:-1]] == ["13.15", "64.7", "13.3", "19.3", "bytes"]


@pytest.mark.parametrize("way", PASSES)
def test_a_comparison_gives_rates_ratios_and_errors(way):
    row = gpu_conv.compare(TINY[0], way, H100, DEVICE, lambda calls: [4e-6, 8e-6, 2e-6])
    assert (row["ours_us"], row["plain_us"], row["cudnn_us"]) == (4, 8, 2)
    assert (row["ratio_to_cudnn"], row["plain_ratio_to_cudnn"]) == (0.5, 0.25)
    assert row["tflops"] == round(TINY[0].operations / 4e-6 / 1e12, 1)
    assert row["gb_per_s"] == round(TINY[0].bytes / 4e-6 / 1e9, 1)
    assert row["share_of_roofline"] == pytest.approx(TINY[0].bytes / 3.35e12 / 4e-6, abs=5e-4)
    # Results of the same inputs, rounded to bfloat16: each half a unit in the last place off on average, none exact.
    assert all(1e-4 < row[f"{who}_error"] < 4e-3 for who in ("ours", "plain", "cudnn"))


def test_the_error_is_relative():
    exact = torch.tensor([3.0, 4.0], dtype=torch.float64)
    assert gpu_conv.error(torch.tensor([3.0, 4.5]), exact) == pytest.approx(0.1)


def rows_of(ratios):
    return [{"layer": TINY[0]._asdict(), "pass": way, "ours_us": 10.0, "plain_us": 40.0, "cudnn_us": 10 * ratio,
             "ratio_to_cudnn": ratio, "plain_ratio_to_cudnn": ratio / 4, "tflops": 512.3, "gb_per_s": 99.0,
             "share_of_roofline": 0.517, "ours_error": 3e-3, "plain_error": 2e-3, "cudnn_error": 2e-3}
            for way in PASSES for ratio in ratios]


def test_means_are_geometric_and_the_worst_is_named():
    means = gpu_conv.means(rows_of([0.5, 2.0, 2.0]))
    assert list(means) == list(PASSES)
    assert means["forward"] == {"ours": 1.26, "least": 0.5, "plain": 0.315, "largest_error_ratio": 1.5}


def test_the_table_has_a_line_for_each_layer():
    lines = [line for line in text(gpu_conv.results_table(rows_of([0.5, 2.0])[:2], "forward")).splitlines()
             if "16, 8, 5" in line]
    assert len(lines) == 2
    assert [cell.strip() for cell in lines[0].split("│")[2:-1]] == [
        "10.0", "40.0", "5.0", "0.50", "512", "99", "52%", "3.0e-03", "2.0e-03"]


def test_what_is_written_says_how_it_was_measured(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "argv", ["gpu_conv"])
    monkeypatch.setattr(gpu_conv, "RESULTS", tmp_path / "results" / "gpu_conv.json")
    monkeypatch.setattr(gpu_conv, "LAYERS", TINY[:1])
    monkeypatch.setattr(gpu_conv, "compare", lambda _, way, *rest: next(r for r in rows_of([2.0]) if r["pass"] == way))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91002)
    gpu_conv.main()
    written = json.loads((tmp_path / "results" / "gpu_conv.json").read_text())
    assert {"command", "date", "device", "peaks", "torch", "triton", "cudnn"} < set(written)
    assert written["device"] == "NVIDIA H200" and written["peaks"]["bandwidth"] == 4.8e12
    assert [row["pass"] for row in written["layers"]] == list(PASSES)
    assert "forward: cuDNN's time over ours 2.00 (geometric mean), 2.00 at least" in capsys.readouterr().out


@pytest.mark.skipif(DEVICE == "cuda", reason="there is a GPU")
def test_without_a_gpu_it_says_in_one_sentence_what_it_needs(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gpu_conv"])
    with pytest.raises(SystemExit, match="needs an NVIDIA GPU of compute capability 9.0, an H100 or H200; --"):
        gpu_conv.main()
