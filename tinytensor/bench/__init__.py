"""Benchmarks: backends against each other, against other libraries, against the machine."""
