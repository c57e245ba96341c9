"""The convolution kernels for Hopper: each as its plain version in the folder above, and why it should be faster.

forward, grad_input and grad_weight have the kernels, blocks rearranges first layers, tiles and tuning choose sizes,
launch brings these together, and conv2d is what is called.
"""
