"""The Numba backend's kernels, by family; the files have the names of those in csrc."""
