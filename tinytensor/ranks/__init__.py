"""The processes, called ranks, that train one network with MPI; see tt.parallel.

    world.py         the ranks of this run, and the sum of an array over all ranks
    liveness.py      finds a rank that has ended or hangs
    differences.py   finds the first setting in which two ranks differ
    shares.py        the chunks of a batch, and what a layer computes for all chunks

`mpiexec -n 4 python script.py` starts 4 ranks. Each rank has the whole network and trains on its
share of each batch. The gradients are summed over all ranks, so all ranks make the same update.
"""

from tinytensor.ranks.differences import first_difference
from tinytensor.ranks.liveness import LAUNCHER
from tinytensor.ranks.shares import Share, Team, current_share
from tinytensor.ranks.world import (
    ALONE,
    RANKS_FILE,
    World,
    launched_rank,
    launched_size,
    world,
)

__all__ = [
    "ALONE",
    "LAUNCHER",
    "RANKS_FILE",
    "Share",
    "Team",
    "World",
    "current_share",
    "first_difference",
    "launched_rank",
    "launched_size",
    "world",
]
