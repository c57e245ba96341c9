"""GPU kernels of a convolutional network in Triton, each in a plain version that reads like its formula.

For convolution `fast` has a second one, made for Hopper GPUs, and `convolution` chooses between the two.

On a machine without a GPU they run, slowly, in Triton's interpreter: set TRITON_INTERPRET=1 before this is imported.
"""
