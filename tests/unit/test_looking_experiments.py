"""The experiments behind notebook 16: small versions run, and the tables and weights that are kept belong together."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from cnnlab import results  # noqa: E402
from cnnlab.train import predict  # noqa: E402
from solutions.gpu.experiments import cifar_cka, cifar_inputs, cifar_net  # noqa: E402


def made_up(n):
    random = torch.Generator().manual_seed(0)
    return torch.randint(256, (n, 3, 32, 32), generator=random, dtype=torch.uint8), torch.arange(n) % 10


def kept():
    net = cifar_net.network()
    for parameter, array in zip(net.parameters(), results.arrays("cifar_net").values(), strict=True):
        assert parameter.shape == array.shape
        parameter.data = torch.tensor(array)
    return net.eval()


def test_a_tiny_training_has_the_columns_of_the_table_that_is_kept():
    images, labels = made_up(20)
    net = cifar_net.trained((images, labels), (images, labels), epochs=1, seed=0, widths=(2, 3, 2, 3))
    rows = cifar_net.confusion(predict(net, images).argmax(1), labels)
    assert list(rows[0]) == list(results.load("cifar_net")) and sum(sum(list(r.values())[1:]) for r in rows) == 20


def test_the_other_tables_have_the_columns_that_are_kept():
    images, labels = made_up(6)
    rows = cifar_inputs.measure(kept(), images, labels)
    table = results.load("cifar_inputs")
    assert list(rows[0]) == list(table) and [r["prepared"] for r in rows] == table["prepared"].tolist()
    rows = cifar_cka.measure(kept(), kept(), cifar_net.network(), images.float() / 255)
    table = results.load("cifar_cka")
    assert list(rows[0]) == list(table) and [r["layer"] for r in rows] == table["layer"].tolist()
    assert all(r["cka_itself"] == r["cka_seed"] == 1 for r in rows if r["layer"] == r["other"])


def test_folding_batch_norm_into_the_convolutions_changes_nothing():
    torch.manual_seed(0)
    net, x = cifar_net.network((4, 5, 6, 7), batch_norm=True), torch.randn(3, 3, 32, 32)
    for norm in [m for m in net if isinstance(m, nn.BatchNorm2d)]:
        for value in (norm.weight, norm.bias, norm.running_mean):
            nn.init.normal_(value)
        nn.init.uniform_(norm.running_var, 0.5, 2)
    torch.testing.assert_close(cifar_net.folded(net, (4, 5, 6, 7))(x), net.eval()(x), atol=1e-5, rtol=1e-4)


def test_the_kept_network_is_trained_and_its_table_says_how_well():
    table = results.load("cifar_net")
    counts = np.stack([table[name] for name in table["label"]], axis=1)
    assert counts.sum() == 10_000 and np.trace(counts) > 7500
    inputs = results.load("cifar_inputs")
    assert inputs["accuracy"][0] == pytest.approx(np.trace(counts) / 10_000, abs=2e-3)  # rounding of sums
    assert kept()(torch.zeros(1, 3, 32, 32)).isfinite().all()


def test_the_comparison_is_that_of_numpy_and_scipy():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 4)), rng.normal(size=(7, 5))
    a, b = (v - v.mean(0) for v in (x, y))
    expected = np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b))
    x, y = torch.from_numpy(x), torch.from_numpy(y)
    assert cifar_cka.cosine(cifar_cka.similarities(x), cifar_cka.similarities(y)) == pytest.approx(expected)
    upper = np.triu_indices(7, 1)
    expected = spearmanr((1 - np.corrcoef(x))[upper], (1 - np.corrcoef(y))[upper]).statistic
    assert cifar_cka.cosine(cifar_cka.ranks(x), cifar_cka.ranks(y)) == pytest.approx(expected)


def test_each_layer_is_most_like_the_same_one_of_the_network_from_another_seed():
    table = results.load("cifar_cka")
    same = table["layer"] == table["other"]
    assert (table["cka_itself"][same] == 1).all() and (table["cka_itself"][~same] < 1).all()
    seed = table["cka_seed"].reshape(7, 7)
    assert (seed.argmax(1) == np.arange(7)).all()
