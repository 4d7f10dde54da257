"""The backends: each is a module with the kernels that tinytensor/kernels.py declares.

A backend also has the functions `num_threads()`, `set_num_threads(n)` and `description()`. NumPy
computes a kernel that a backend does not have; `available_backends()` lists these kernels.
"""
