"""Which of a few tile sizes is fastest: measured once for each device, kernel and shape, and kept in a file.

`triton.autotune` would do the measuring, but its choice lives in the process (its file cache is keyed by the source, so
each edit of a comment discards it), it cannot know that the candidates depend on shapes, and it does not say what it
chose.  Here the file, kernels.json in CNNLAB_CACHE or the user's cache folder, can be read, compared and deleted.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
import triton

from cnnlab import datafiles

RUNS = 7
BEFORE = 2**29  # bytes written before each run: its tensors leave L2, and Python has 0.2 ms to launch it meanwhile
_known: dict[str, dict[str, list]] = {}  # what was read from and written to each file


def choose(kernel: str, what: str, candidates: list[tuple], run: Callable[[tuple], object]) -> tuple:
    """The fastest of `candidates` for `kernel` on `what` (shapes, dtype), by the file or measured with `run`.

    Without a GPU, or while a CUDA graph is recorded, nothing can be measured: then it is the first.
    """
    if len(candidates) == 1 or not torch.cuda.is_available():
        return candidates[0]
    key = f"{torch.cuda.get_device_name()}, Triton {triton.__version__}, {kernel}, {what}"
    if (chosen := recall(key, candidates)) is not None:
        return chosen
    if torch.cuda.is_current_stream_capturing():
        return candidates[0]
    times = {candidate: measure(lambda candidate=candidate: run(candidate)) for candidate in candidates}
    chosen = min(times, key=times.get)
    if times[chosen] == float("inf"):
        raise RuntimeError(f"no tile of {kernel} runs on {torch.cuda.get_device_name()}: {what}")
    keep(key, chosen)
    return chosen


def measure(run: Callable[[], object]) -> float:
    """The median time of `run` in ms, or infinity if it needs more than there is or the driver refuses it."""
    try:
        run()
    except (triton.runtime.errors.OutOfResources, RuntimeError):
        return float("inf")
    laps, before = [], torch.empty(BEFORE, dtype=torch.int8, device="cuda")
    for _ in range(RUNS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.zero_()
        start.record()
        run()
        end.record()
        end.synchronize()
        laps.append(start.elapsed_time(end))
    return statistics.median(laps)


def place() -> Path:
    """The file of choices."""
    return Path(os.environ.get("CNNLAB_CACHE") or datafiles.caches()[-1]) / "kernels.json"


def recall(key: str, candidates: list[tuple]) -> tuple | None:
    """The choice kept for `key`, if it still is one of the candidates."""
    file = str(place())
    if file not in _known:
        _known[file] = read(file)
    kept = _known[file].get(key)
    return next((candidate for candidate in candidates if list(candidate) == kept), None)


def keep(key: str, chosen: tuple) -> None:
    """Write a choice down, beside what other processes wrote meanwhile.  Where nothing can be written: remember it."""
    file = str(place())
    _known[file] = {**read(file), **_known.get(file, {}), key: list(chosen)}
    try:
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=os.path.dirname(file), delete=False, encoding="utf-8") as new:
            json.dump(_known[file], new, indent=1, sort_keys=True)
        os.replace(new.name, file)  # whole or not at all
    except OSError:
        pass


def read(file: str) -> dict[str, list]:
    """The choices in a file; none if it is not there or is none of ours, and then all is measured anew."""
    try:
        with open(file, encoding="utf-8") as kept:
            choices = json.load(kept)
    except (OSError, ValueError):
        return {}
    return choices if isinstance(choices, dict) else {}
