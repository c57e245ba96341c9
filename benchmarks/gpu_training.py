"""How fast our ResNet-50 and VGG-16 train beside torchvision's: steps per second on one GPU, synthetic ImageNet.

    python -m benchmarks.gpu_training

prints a table and writes benchmarks/results/gpu_training.json, with device, versions, command and date.  It needs a GPU
and torchvision.  Both networks start from the same weights, get the same images (128 of 3x224x224, on the device) and
are trained alike: bfloat16 autocast, channels-last, cuDNN choosing its algorithms by trial, SGD with momentum; once as
they are and once under torch.compile.  They run in turns, in one process, so that a clock that moves moves for both; a
ratio is of the two in one turn, and what is shown is the median over the turns, with the quartiles.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solutions.gpu.models import create, to_torchvision
from solutions.gpu.models.convert import COUNTERPARTS

RESULTS = Path(__file__).parent / "results" / "gpu_training.json"
NAMES = ("resnet50", "vgg16")  # as torchvision calls them
BATCH, TURNS, STEPS, WARM_UP = 128, 20, 10, 10


@dataclass
class Pair:
    """Our network and theirs, with equal weights, and the shape of what they take."""

    name: str
    ours: nn.Module
    theirs: nn.Module
    input: tuple[int, int, int, int]


def main() -> int:
    if not torch.cuda.is_available():
        return refuse("This measures a GPU, and torch finds none on this machine.")
    try:
        import torchvision
    except (ImportError, RuntimeError) as e:  # the latter where it was built for another torch
        return refuse(f"This compares with torchvision, which cannot be imported ({e}); install the version that "
                      f"belongs to torch {torch.__version__}.")
    torch.backends.cudnn.benchmark = True
    rows = [row for pair in pairs(torchvision.models) for row in compare(pair, torch.device("cuda"))]
    figures = {"networks": rows, "batch": BATCH} | origin(torchvision.__version__)
    RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
    show(rows)
    return 0


def refuse(why: str) -> int:
    print(why, file=sys.stderr)
    return 1


def pairs(theirs) -> Iterator[Pair]:
    """The networks NAMES, ours and those of torchvision.models."""
    for name in NAMES:
        pair = Pair(name, create(COUNTERPARTS[name]), getattr(theirs, name)(), (BATCH, 3, 224, 224))
        pair.theirs.load_state_dict(to_torchvision(pair.ours))
        yield pair


def compare(pair: Pair, device: torch.device, turns=TURNS, steps=STEPS, ways=(False, True)) -> list[dict]:
    """A row without and a row with torch.compile: medians of the milliseconds a step takes, and the ratio."""
    x = torch.randn(pair.input, device=device).contiguous(memory_format=torch.channels_last)
    nets = [net.to(device, memory_format=torch.channels_last) for net in (pair.ours, pair.theirs)]
    check(*nets, x)
    labels, rows = torch.randint(10, (len(x),), device=device), []
    for compiled in ways:
        laps = take_turns([stepper(net, x, labels, compiled) for net in nets], device, turns, steps)
        ours, theirs = zip(*laps, strict=True)
        low, ratio, high = statistics.quantiles([b / a for a, b in laps], n=4)
        rows.append({"network": pair.name, "compiled": compiled,
                     "ours_ms": round(1e3 * statistics.median(ours), 3),
                     "torchvision_ms": round(1e3 * statistics.median(theirs), 3),
                     "ours_steps_per_s": round(1 / statistics.median(ours), 2),
                     "torchvision_steps_per_s": round(1 / statistics.median(theirs), 2),
                     "speed_ratio": round(ratio, 4), "quartiles": [round(low, 4), round(high, 4)]})
    return rows


def check(ours: nn.Module, theirs: nn.Module, x: Tensor) -> None:
    """Both compute the same, to what bfloat16 allows; otherwise their times say nothing."""
    with torch.no_grad(), torch.autocast(x.device.type, torch.bfloat16):
        a, b = (net.eval()(x).double() for net in (ours, theirs))
    wrong = ((a - b).norm() / b.norm()).item()
    if not wrong < 0.02:
        raise SystemExit(f"Ours and torchvision's differ by {wrong:.1e} of the norm: {type(ours).__name__}")


def stepper(net: nn.Module, x: Tensor, labels: Tensor, compiled: bool) -> Callable[[], None]:
    """A function that trains `net` for one step."""
    net.train()
    forward = torch.compile(net) if compiled else net
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def step():
        optimiser.zero_grad()
        with torch.autocast(x.device.type, torch.bfloat16):
            loss = F.cross_entropy(forward(x), labels)
        loss.backward()
        optimiser.step()

    return step


def take_turns(runs: list[Callable], device: torch.device, turns: int, steps: int) -> list[tuple[float, ...]]:
    """Seconds a step of each of `runs` takes, turn by turn; who begins changes from turn to turn."""
    for run in runs:
        lap(run, device, WARM_UP if device.type == "cuda" else 1)
    laps = []
    for turn in range(turns):
        order = range(len(runs))[::-1 if turn % 2 else 1]
        seconds = {i: lap(runs[i], device, steps) for i in order}
        laps.append(tuple(seconds[i] for i in range(len(runs))))
    return laps


def lap(run: Callable, device: torch.device, steps: int) -> float:
    """Seconds a step takes, from when the device is idle until it is idle again."""
    wait(device)
    start = time.perf_counter()
    for _ in range(steps):
        run()
    wait(device)
    return (time.perf_counter() - start) / steps


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def origin(torchvision: str) -> dict:
    """Where, with what and when it was measured."""
    return {"settings": "bfloat16 autocast, channels-last, cudnn.benchmark, SGD with momentum",
            "command": "python -m benchmarks.gpu_training", "date": time.strftime("%Y-%m-%d"),
            "device": torch.cuda.get_device_name(), "python": platform.python_version(), "torch": torch.__version__,
            "torchvision": torchvision, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}


def show(rows: list[dict]) -> None:
    print("Training steps a second, ours and torchvision's; the ratio is above 1 where ours is faster.")
    print("network    compiled      ours  torchvision   ratio  (quartiles)")
    for r in rows:
        print(f"{r['network']:9}  {'yes' if r['compiled'] else 'no':8}  {r['ours_steps_per_s']:8.2f}  "
              f"{r['torchvision_steps_per_s']:11.2f}  {r['speed_ratio']:6.3f}  "
              f"({r['quartiles'][0]:.3f} to {r['quartiles'][1]:.3f})")


if __name__ == "__main__":
    sys.exit(main())
