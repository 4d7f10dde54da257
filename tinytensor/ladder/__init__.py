"""The ladder: versions of four kernels, from the naive loop to the fast kernel.

ladder.py lists the rungs with their ideas, finds their sources and measures their speed.
c_ladder.py has the lower rungs in C, whose loops are in csrc/ladder/. numba_ladder.py has the lower
rungs in Numba.
"""
