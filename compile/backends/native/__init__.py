"""The forest packed for our own kernels, on a CPU and on a GPU."""
