"""Moving pictures of what a layer does, as HTML with play, pause and step buttons.

While nbgrader grades, every one returns nothing: nobody is looking.
"""

from cnnlab.animation.fields import growing_field
from cnnlab.animation.functions import reflect_and_shift
from cnnlab.animation.gradients import max_pooling, three_convolutions
from cnnlab.animation.networks import recognition, scan
from cnnlab.animation.normalisation import dropping, norm_groups
from cnnlab.animation.tiles import implicit_gemm
from cnnlab.animation.windows import matrix_rows, patches_as_rows, sliding_window

__all__ = ["dropping", "growing_field", "implicit_gemm", "matrix_rows", "max_pooling", "norm_groups",
           "patches_as_rows", "recognition", "reflect_and_shift", "scan", "sliding_window", "three_convolutions"]
