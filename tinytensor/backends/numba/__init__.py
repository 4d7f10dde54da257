"""The Numba backend's kernels, by family: matmul_loops.py is what matmul.c is in csrc/.

compiling.py     compiles a kernel at its first call and keeps the machine code on disk
tile.py          sums of products in vector registers: the inner loop of matmul and conv2d
exponential.py   e^x in plain arithmetic
places.py        sizes and strides, as compiled loops walk them
*_loops.py       the kernels
"""
