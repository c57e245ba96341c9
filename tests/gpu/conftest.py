"""Kernels run on a GPU if there is one, and otherwise in Triton's interpreter on the CPU."""

import os

import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
if DEVICE == "cpu":
    os.environ["TRITON_INTERPRET"] = "1"  # read when a kernel is defined, so before the kernels are imported


@pytest.fixture(autouse=True, scope="session")
def exact_float32():
    """Products of float32 in full, as the tolerances expect."""
    before = torch.backends.cudnn.conv.fp32_precision
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    yield
    torch.backends.cudnn.conv.fp32_precision = before
