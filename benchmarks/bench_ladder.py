"""The lead of each kernel over a slow rung of its ladder: a regression fails on any machine.

Times differ from machine to machine. The ratio of two rungs that take turns differs little. The
bounds are about half of what was measured on AMD Zen 3 (AVX2) and Zen 4 (AVX-512), or less.
"""

import pytest

import tinytensor as tt
from tinytensor.ladder import ladder

LEADS = [  # kernel, size, and pairs of rungs: the slow one, the fast one, the least ratio
    ("matmul", 256, (("c.naive", "c.threaded", 25), ("numba.naive", "numba", 20))),
    ("sparse_matmul", 100, (("c.tested", "c.threaded", 3),)),
    ("softmax", 400, (("c.naive", "c.threaded", 3), ("numba.naive", "numba", 1.3))),
    ("conv2d", 20, (("c.naive", "c.threaded", 15), ("numba.naive", "numba", 12))),
]


@pytest.mark.parametrize(("kernel", "size", "leads"), LEADS)
def test_lead_over_a_slow_rung(benchmark, kernel, size, leads):
    tt.set_num_threads(1)
    results, _ = benchmark.pedantic(ladder.measure, (kernel, size, 0.2))
    seconds = {result.rung.name: result.seconds for result in results}
    for slow, fast, least in leads:
        lead = seconds[slow] / seconds[fast]
        benchmark.extra_info[f"{fast} over {slow}"] = lead
        assert lead >= least, f"{kernel}: {fast} is only {lead:.1f} times as fast as {slow}"
