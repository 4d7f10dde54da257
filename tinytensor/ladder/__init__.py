"""The ladder: versions of matmul, softmax and conv2d, from the naive loop to the fast kernel.

ladder.py lists the rungs: what each one improves, its source and its speed. c_ladder.py is the
lower rungs in C, whose loops are in csrc/ladder/; numba_ladder.py is the lower rungs in Numba.
"""
