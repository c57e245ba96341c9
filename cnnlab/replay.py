"""CUDA graphs: a step of training recorded once, and from then on launched as a whole.

The kernels of a small network are done sooner than Python can launch the next one.  A CUDA graph is the list of these
launches, with the addresses of all that they read and write, and takes one launch itself.  So every replay reads its
inputs where the first ones lay, and writes results and gradients where the first ones were written.

`torch.compile(mode="reduce-overhead")` records such graphs too, after compiling, and out of sight.  Here they are in
sight, and nothing waits for a compiler.
"""

from __future__ import annotations

import torch

WARM_UP = 3  # calls before the recording, in which libraries choose their algorithms and reserve memory


def check(device: torch.device, processes: int) -> None:
    """Raises ValueError where no graph can be recorded."""
    if device.type != "cuda":
        raise ValueError(f"CUDA graphs are for a GPU, and this training is on {device}; leave graph out.")
    if processes > 1:
        raise ValueError(f"CUDA graphs are for one process, and there are {processes}; leave graph out.")


class Replayed:
    """A function of tensors, recorded at the fourth call.  It returns a tensor, which the next call overwrites.

    The function must not look at values (no .item(), no `if`), and must write what it keeps, such as gradients, to
    tensors that stay.  Inputs of other shapes than the first, such as a last smaller batch, it is given as usual.
    Recipe: pytorch.org/docs/stable/notes/cuda.html, "CUDA Graphs", whole-network capture.
    """

    def __init__(self, function):
        self.function, self.inputs, self.output = function, None, None
        self.calls, self.graph, self.stream = 0, torch.cuda.CUDAGraph(), torch.cuda.Stream()

    def __call__(self, *inputs):
        if self.inputs is None:
            self.inputs = [x.clone() for x in inputs]
        if any(x.shape != old.shape for x, old in zip(inputs, self.inputs, strict=True)):
            return self.function(*inputs)
        for x, old in zip(inputs, self.inputs, strict=True):
            old.copy_(x)
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._warm_up()
        if self.output is None:
            with torch.cuda.graph(self.graph, stream=self.stream):  # records, and computes nothing
                self.output = self.function(*self.inputs)
        self.graph.replay()
        return self.output

    def _warm_up(self):
        """An ordinary call, on the stream that will be recorded."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            output = self.function(*self.inputs)
        torch.cuda.current_stream().wait_stream(self.stream)
        return output
