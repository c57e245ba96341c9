"""What test_processes.py lets one process do, and then two: torchrun -m tests.unit.in_processes FOLDER [--die]."""

import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cnnlab import processes
from cnnlab import train as training
from cnnlab.data import digits
from cnnlab.train import Recipe

# 601 images in batches of 51: two processes get 25 and 26, and of the last batch, 40, as many.
RECIPE = Recipe(epochs=2, batch_size=51, lr=0.1, augment="affine", warmup=0.5, seed=3)


def sets():
    x, y = digits()
    x = (x / 16 * 255).astype(np.uint8)
    return (x[:601], y[:601]), (x[601:900], y[601:900])


def plain_net():
    torch.manual_seed(processes.number())  # so that it matters that all start from the same
    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten(),
                         nn.Linear(6 * 16, 10)).double()


def batch_norm_net():
    torch.manual_seed(processes.number())
    return nn.Sequential(nn.Conv2d(1, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3),
                         nn.Linear(6 * 36, 10))


class AtStep(nn.Module):
    """Nothing, but what is to happen at the step n."""

    def __init__(self, n, happens):
        super().__init__()
        self.left, self.happens = n, happens

    def forward(self, x):
        self.left -= self.training
        return self.happens(x) if self.left == 0 else x


def interrupt(x):
    raise KeyboardInterrupt


def nan_in_process_1(x):
    return x * float("nan") if processes.number() == 1 else x


def die_in_process_1(x):
    return os._exit(3) if processes.number() == 1 else x


def train(net, **options):
    """The history and the last state, as they are saved."""
    history = training.train(net, *sets(), RECIPE, **options)
    state = {k: v.clone() for k, v in net.state_dict().items()}
    return {"state": state} | {k: v for k, v in asdict(history).items() if k != "seconds"}


def all_of_it(folder):
    """Every training that the tests look at, by name."""
    file = folder / "net.pt"
    done = {"plain": train(plain_net()), "batch_norm": train(batch_norm_net(), quiet=True)}
    writes, save = [], training._save
    training._save = lambda *args: (writes.append(1), save(*args))
    train(nn.Sequential(*batch_norm_net(), AtStep(18, interrupt)), checkpoint=file, quiet=True)
    training._save = save
    done |= {"resumed": train(batch_norm_net(), checkpoint=file, quiet=True), "writes": len(writes)}
    done["nan"] = train(nn.Sequential(*plain_net(), AtStep(5, nan_in_process_1)), quiet=True)
    # All of torch.compile but the last step, which calls a C++ compiler.
    torch.compile = partial(torch.compile, backend="aot_eager")
    done["compiled"] = train(plain_net(), quiet=True, compile=True)
    return done


def main(folder, die=False):
    torch.set_num_threads(1)
    processes.join("cpu")
    if die:
        train(nn.Sequential(*plain_net(), AtStep(5, die_in_process_1)))
    else:
        torch.save(all_of_it(Path(folder)), Path(folder) / f"process_{processes.number()}.pt")
    processes.leave()


if __name__ == "__main__":
    main(sys.argv[1], die="--die" in sys.argv)
