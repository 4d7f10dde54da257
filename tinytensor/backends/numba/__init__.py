"""The kernels of the Numba backend: matmul_loops.py corresponds to csrc/matmul.c, and so on.

compiling.py     compiles a kernel at its first call and caches the machine code on disk
tile.py          sums of products in vector registers: the inner loop of matmul and conv2d
thread_pool.py   a pool of threads that divide the rows of a call
exponential.py   e^x in plain arithmetic
strides.py       sizes and strides of merged axes as arrays
*_loops.py       the kernels
"""
