"""`make lab`: JupyterLab on a folder with copies of the student notebooks, with nbgrader's extensions and jupytext."""

from __future__ import annotations

import sys

from cnnlab import lab
from cnnlab.lab import fill, start as main

__all__ = ["fill", "main"]

if __name__ == "__main__":
    sys.exit(lab.main())
