"""The commands that train and measure: what they run, what they keep, and what they say when they cannot."""

import re

import numpy as np
import pytest
import torch

from cnnlab import results
from cnnlab.training import History
from solutions.gpu import train as training
from solutions.gpu.experiments import __main__ as experiments
from solutions.gpu.experiments import mnist_lenet, mnist_robustness, mnist_size
from solutions.gpu.experiments.lenets import small_digits
from solutions.gpu.models import NETWORKS, create
from tests.unit.tiny_mnist import write


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def tiny_mnist(tmp_path):
    write(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", training.RECIPES)
def test_every_recipe_names_a_network_that_takes_its_data(name):
    recipe = training.RECIPES[name]
    assert NETWORKS[recipe.network].input[0] == (1 if recipe.sets is training.mnist else 3)


def test_a_recipe_trains_on_the_data_of_a_folder(tiny_mnist, capsys, monkeypatch):
    monkeypatch.setenv("CNNLAB_DATA", "/nowhere")
    file = tiny_mnist / "net.pt"
    command = ["mnist-lenet", "--epochs", "2", "--data", str(tiny_mnist), "--device", "cpu", "--checkpoint", str(file)]
    assert training.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("lenet on cpu: Recipe(epochs=2, batch_size=64") and "epoch 2 of 2" in lines[-1]
    assert torch.load(file, weights_only=True)["model"]["features.0.weight"].shape == (6, 1, 5, 5)
    assert training.main([*command, "--seed", "1"]) == 1
    assert "another training (seed 0, now 1)" in capsys.readouterr().err


def test_what_the_command_line_says_of_speed_reaches_the_training(monkeypatch):
    asked = {}
    monkeypatch.setattr(training, "train", lambda net, *sets, **options: asked.update(options, net=net) or History())
    monkeypatch.setitem(training.RECIPES, "x", training.Training("lenet", lambda: (None, None), training.LENET))
    options = ["x", "--device", "cpu", "--precision", "bfloat16"]
    assert training.main([*options, "--compile", "--graph"]) == 0
    assert asked["precision"] == "bfloat16" and asked["compile"] and asked["graph"] and asked["device"] == "cpu"
    pytest.importorskip("triton")
    monkeypatch.setattr(training, "check_kernels", lambda device, compile: None)
    assert training.main([*options, "--kernels"]) == 0
    assert type(asked["net"].features[0]).__module__ == "solutions.gpu.layers.modules" and not asked["compile"]


@pytest.mark.parametrize("options, said", [
    (["--device", "gpu"], "There is no device 'gpu'; give cpu, cuda, or cuda:1 for the second GPU."),
    (["--device", "cuda:64"], r"There is no cuda:64: .* GPU"),
    (["--device", "cpu", "--graph"], "CUDA graphs are for a GPU, and this training is on cpu; leave graph out."),
    (["--device", "cpu", "--kernels"], "set TRITON_INTERPRET=1"),
    (["--device", "cpu", "--kernels", "--compile"], "give --kernels or --compile, not both"),
])
def test_what_this_machine_cannot_do_is_said_in_one_sentence(options, said, tiny_mnist, capsys, monkeypatch):
    monkeypatch.setenv("CNNLAB_DATA", "/nowhere")  # which --data changes: tests after this one want their own
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    if "not both" in said:
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert training.main(["mnist-lenet", "--epochs", "1", "--data", str(tiny_mnist), *options]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and re.search(said, lines[0])


def test_mnist_is_put_in_the_middle_of_32_by_32(tiny_mnist, monkeypatch):
    monkeypatch.setenv("CNNLAB_DATA", str(tiny_mnist))
    (images, labels), _ = training.mnist()
    assert images.shape == (100, 32, 32) and labels[3] == 3
    assert images[3, 12].tolist() == [0, 0] + [255] * 28 + [0, 0] and images[3].sum() == 28 * 255


def test_an_unknown_recipe_is_answered_with_those_that_are_near(capsys):
    near = "did you mean mnist-lenet-distorted or mnist-lenet-fast or mnist-lenet?"
    for name, said in (("mnist-lenet-distort", near), ("x", "there are mnist-lenet, ")):
        with pytest.raises(SystemExit):
            training.main([name])
        assert f"there is no recipe '{name}'; {said}" in capsys.readouterr().err


def test_missing_data_is_said_in_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("cnnlab.environment.ROOT", tmp_path)
    monkeypatch.setenv("CNNLAB_DATA", "")
    assert training.main(["mnist-lenet", "--data", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert "MNIST" in said and "download" in said and "Traceback" not in said


def test_an_experiment_is_kept_with_how_it_was_made_unless_it_is_quick(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(experiments, "FOLDER", tmp_path)
    monkeypatch.setattr(mnist_size, "run", lambda quick: [{"images": 10, "test_error": 0.5}])
    assert experiments.main(["mnist_size", "--quick"]) == 0 and not list(tmp_path.iterdir())
    assert experiments.main(["mnist_size"]) == 0
    shown = capsys.readouterr().out
    written = (tmp_path / "mnist_size.csv").read_text()
    assert shown == 2 * written and written.endswith("images,test_error\n10,0.5\n")
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    read = results.load("mnist_size")
    assert read.command == "python -m solutions.gpu.experiments mnist_size" and "torch " in read.device


def test_experiments_are_the_modules_with_a_run():
    assert {"mnist_size", "mnist_lenet", "mnist_robustness"} <= set(experiments.names())
    assert "lenets" not in experiments.names()


@pytest.fixture(scope="module")
def few():
    train_set, test_set = small_digits()
    return tuple(part[:100] for part in train_set), tuple(part[:60] for part in test_set)


def test_errors_are_measured_by_size_without_and_with_distortions(few, capsys):
    rows = mnist_size.measure(*few, sizes=(100, 25), epochs=1)
    assert [(row["images"], row["epochs"]) for row in rows] == [(25, 2), (100, 1)]
    assert all(0 <= row[c] <= 1 for row in rows for c in ("test_error", "test_error_distorted"))


def test_confusion_and_errors_are_counted_by_hand():
    labels, answers = torch.tensor([0, 0, 3, 3]), torch.tensor([0, 5, 3, 3])
    rows = mnist_lenet.confusion(answers, labels)
    assert rows[0]["answer_0"] == rows[0]["answer_5"] == 1 and rows[3]["answer_3"] == 2
    assert sum(n for row in rows for key, n in row.items() if key != "label") == 4
    images = np.arange(4 * 32 * 32).reshape(4, 32, 32)
    logits = 3 * torch.eye(10)[torch.tensor([1, 0, 7, 3])]
    logits[2] *= 2
    wrong = mnist_lenet.errors(logits, images, labels.numpy())
    assert wrong["index"].tolist() == [2, 0] and wrong["labels"].tolist() == [3, 0]  # the surest first
    np.testing.assert_array_equal(wrong["images"], images[[2, 0], 2:30, 2:30])
    np.testing.assert_allclose(wrong["p"].sum(1), 1, rtol=1e-5)


def test_changed_images_are_uint8_and_unchanged_by_nothing(few):
    images = few[1][0]
    for name, amounts in mnist_robustness.AMOUNTS.items():
        nothing = 1.0 if name == "scale" else 0
        assert nothing in amounts
        (same,) = mnist_robustness.changed(images, name, nothing)
        assert torch.equal(same, images)
        for other in mnist_robustness.changed(images, name, amounts[-1]):
            assert other.dtype == torch.uint8 and not torch.equal(other, images)
    ways = [len(mnist_robustness.changed(images, name, 2)) for name in ("shift", "turn", "scale")]
    assert ways == [4, 2, 1]


def test_robustness_has_a_row_for_each_change_and_the_mean_of_its_ways(few):
    nets = create("lenet"), create("lenet")
    for net, answer in zip(nets, (3, 4), strict=True):  # always the same
        net.classifier[-1].weight.data.zero_()
        net.classifier[-1].bias.data[answer] = 1
    rows = mnist_robustness.measure(*nets, few[1], {"turn": (0, 90)})
    assert [(row["change"], row["amount"]) for row in rows] == [("turn", 0), ("turn", 90)]
    shares = [(few[1][1] == answer).float().mean().item() for answer in (3, 4)]
    for row in rows:
        assert [row["accuracy"], row["accuracy_distorted"]] == pytest.approx(shares, abs=1e-4)
