"""The networks of steps.py are the same in every library: a few steps of each, untimed.

    python -m pytest benchmarks/bench_steps.py

torch.compile is left out: to compile takes longer than all the rest.
"""

import pytest
from steps import LESSONS, OWN, PEERS, Unfair, compare_losses, is_installed, processes


@pytest.fixture(scope="module")
def contestants():
    peers = [name for name in PEERS if is_installed(name) and name != "torch.compile"]
    with processes([*OWN, *peers], threads=1) as started:
        yield started


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_first_losses_agree(contestants, lesson):
    compare_losses(contestants, lesson)


class Stub:
    """A contestant with these losses."""

    skipped = ""

    def __init__(self, name: str, losses: list[float]) -> None:
        self.name, self.losses = name, losses

    def ask(self, do: str, **request: object) -> dict:
        return {"losses": self.losses}


def test_another_network_is_found_out():
    same, other = Stub("same", [2.3, 2.001]), Stub("other", [2.3, 2.01])
    compare_losses([Stub("run", [2.3, 2.0]), same], "1.0")
    with pytest.raises(Unfair, match=r"lesson 1\.0: the first losses of other are \[2\.3, 2\.01\]"):
        compare_losses([Stub("run", [2.3, 2.0]), same, other], "1.0")
