"""A LeNet trained on MNIST with distortions: its weights, its confusion matrix, and the test images it gets wrong.

Beside the table it keeps, for `cnnlab.results.arrays`, "mnist_lenet": the weights and biases in the order of the layers
(float16), and "mnist_errors": images (N, 28, 28) uint8, labels (N,), and the probabilities of the classes (N, 10).
"""

import numpy as np
import torch

from cnnlab.results import FOLDER
from cnnlab.train import predict
from solutions.gpu.experiments.lenets import small_digits, trained
from solutions.gpu.train import mnist

WHAT = "Confusion matrix on MNIST's test images: a row for each label, a column for each answer"


def run(quick: bool) -> list[dict]:
    train_set, test_set = small_digits() if quick else mnist()
    net = trained("mnist-lenet-distorted", train_set, test_set)
    weights = halve(net)
    logits = predict(net, test_set[0])
    if not quick:
        np.savez_compressed(FOLDER / "mnist_lenet.npz", **weights)
        np.savez_compressed(FOLDER / "mnist_errors.npz", **errors(logits, *test_set))
    return confusion(logits.argmax(1), torch.as_tensor(test_set[1]))


def halve(net) -> dict[str, np.ndarray]:
    """The weights as float16, to which those of the network are rounded, so that what is reported is of these."""
    weights = {name: p.detach().numpy().astype(np.float16) for name, p in net.named_parameters()}
    net.load_state_dict({name: torch.tensor(w, dtype=torch.float32) for name, w in weights.items()})
    return weights


def confusion(answers, labels) -> list[dict]:
    """One row a label: how many of its images got which answer."""
    counts = torch.bincount(10 * labels + answers, minlength=100).view(10, 10)
    return [{"label": label} | {f"answer_{answer}": n for answer, n in enumerate(row)}
            for label, row in enumerate(counts.tolist())]


def errors(logits, images, labels) -> dict[str, np.ndarray]:
    """The images, without their margin of 2, that are put into a wrong class; the surest mistake first."""
    p = logits.softmax(1)
    wrong = np.flatnonzero(p.argmax(1).numpy() != labels)
    wrong = wrong[np.argsort(-p.amax(1).numpy()[wrong])]
    return {"index": wrong, "images": images[wrong, 2:-2, 2:-2], "labels": labels[wrong], "p": p.numpy()[wrong]}
