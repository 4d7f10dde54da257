"""A live page on several ranks: the other ranks follow the Run of rank 0."""

import signal
import subprocess
import sys
import urllib.request

import pytest
from test_parallel import needs_mpi, ranks

pytestmark = [needs_mpi, pytest.mark.full]

COMMANDS = """
import time
from tinytensor.lessons import find
from tinytensor.live.follower import Follower
from tinytensor.live.run import Run
from tinytensor.live.run_settings import Settings
from tinytensor.train import Training

world.timeout = 2  # shorter than the pause
data = tt.datasets.mnist()
data = data._replace(test_images=data.test_images[:500], test_labels=data.test_labels[:500])
training = Training(find("2.2"), data, steps=30, evaluate_every=15, world=world)
if world.rank:
    follower = Follower(training)
    list(follower)
    follower.follow_to_the_end()
else:
    run = Run(training, for_viewer=True)

    def wait_for_step(step):
        while run.state != "paused" or training.step != step:
            time.sleep(0.01)

    run.change(Settings(lr=0.01, keep_prob=0.6))
    run.pause()
    run.begin()
    run.start()
    wait_for_step(1)
    time.sleep(3)
    run.set_backend("numpy")
    run.step()
    wait_for_step(2)
    run.set_backend("c")
    run.change(Settings(lr=0.02))
    run.step()
    wait_for_step(3)
    run.resume()
    for report in run:
        print(report.step, report.test_loss, report.train_loss)
    print(training.changes)
    run.may_restart = True
    run.change(Settings(lr=LAST_RATE))
    run.restart()
    while run.training is training or run.state != "ended":
        time.sleep(0.01)
    print(run.training.report, run.error)
    run.close()
    run.join()
"""


def test_what_a_viewer_changes_has_the_same_bits_on_all_ranks():
    program = COMMANDS.replace("LAST_RATE", "0.003")
    one, two = ranks(1, program), ranks(2, program)
    assert one.returncode == two.returncode == 0, two.stderr
    assert len(one.stdout.splitlines()) == 4
    assert two.stdout == one.stdout


def test_a_restarted_run_whose_loss_is_infinite_ends_no_rank():
    done = ranks(2, COMMANDS.replace("LAST_RATE", "1e30"))
    assert done.returncode == 0, done.stderr
    assert "the loss is nan" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize(("rate", "status"), [("0.001", 0), ("1e30", 2)])
def test_rank_0_serves_the_page_until_ctrl_c(rate, status):
    command = [
        *[sys.executable, "-m", "tinytensor", "launch", "-n", "2", "train", "2.1", "--steps", "20"],
        *["--lr", rate, "--live", "--no-browser", "--speed", "max"],
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        lines = []
        for line in process.stderr:
            lines.append(line)
            if "the page stays until Ctrl-C" in line:
                break
        (address,) = (line.split()[-1] for line in lines if "watch it at" in line)
        page = urllib.request.urlopen(address, timeout=20).read()
        assert b"tinytensor" in page
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == status, rest
    assert rest.count("tinytensor: rank") == bool(status), rest
