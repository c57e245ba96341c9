"""LeNet's test error against the number of training images, without and with distortions.

LeCun, Bottou, Bengio & Haffner, Gradient-based learning applied to document recognition, 1998, section III.B and
figure 6: 0.95 % with 60,000 images, 0.8 % with distorted ones besides.  Here the network is the LeNet of today (ReLU,
max pooling, ordinary outputs).  With distortions every image is distorted anew each time it is met, and a tenth of the
weight decay is enough.
"""

from cnnlab.train import evaluate
from solutions.gpu.experiments.lenets import small_digits, trained
from solutions.gpu.train import RECIPES, mnist

WHAT = "Test error of LeNet trained on the first so many images of MNIST, as they are and distorted"


def run(quick: bool) -> list[dict]:
    if quick:
        return measure(*small_digits(), sizes=(1000, 300, 100), epochs=40)
    return measure(*mnist(), sizes=(60000, 30000, 10000, 3000, 1000), epochs=RECIPES["mnist-lenet"].recipe.epochs)


def measure(train_set, test_set, sizes, epochs: int, seed: int = 0) -> list[dict]:
    """One row a size.  A quarter of the images is met in twice as many epochs, which is half as many steps."""
    rows = []
    for size in sizes:
        row = {"images": size, "epochs": round(epochs * (max(sizes) / size) ** 0.5)}
        part = tuple(whole[:size] for whole in train_set)
        for column, recipe in (("test_error", "mnist-lenet"), ("test_error_distorted", "mnist-lenet-distorted")):
            print(f"{recipe}, {size} images")
            net = trained(recipe, part, test_set, seed, row["epochs"])
            row[column] = round(1 - evaluate(net, test_set), 5)
        rows.append(row)
    return rows[::-1]
