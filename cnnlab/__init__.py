"""cnnlab: what the notebooks of the course import.

`check` and `hint` belong to the exercises; `data`, `plots` and `animation` to the figures.
Importing this needs NumPy only.
"""

import sys

from cnnlab.checks import check, hint

__all__ = ["check", "hint"]

if "IPython" in sys.modules:
    from IPython import get_ipython

    from cnnlab import notebook

    if get_ipython() is not None:
        notebook.install(get_ipython())
