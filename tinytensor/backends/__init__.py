"""The backends: flat modules of the kernels that tinytensor/kernels.py declares.

A backend is a module with the kernels' names, and `num_threads()`, `set_num_threads(n)` and
`description()`. A kernel that it lacks runs on NumPy, and `available_backends()` says so.
"""
