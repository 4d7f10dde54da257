"""Data parallel training: chunks in threads, and ranks that mpiexec starts."""

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import lessons, nn, parallel, random
from tinytensor.errors import NotSupported, SettingError, ShapeError
from tinytensor.train import Training

MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec")
HAS_MPI = MPIEXEC is not None and importlib.util.find_spec("mpi4py") is not None
needs_mpi = pytest.mark.skipif(
    not HAS_MPI, reason="needs mpi4py and mpiexec: pip install 'tinytensor-engine[mpi]'"
)
LESSONS = ["1.0", "2.0", "2.1", "2.2", "3.0", "3.1", "4.0", "4.1", "4.2", "fast", "small", "best"]


def ranks(
    n: int, program: str, *arguments: str, timeout: float = 100
) -> "subprocess.CompletedProcess[str]":
    """Runs a Python program on n ranks; each has one thread."""
    start = "import tinytensor as tt; tt.set_num_threads(1); world = tt.parallel.world()\n"
    command = [str(MPIEXEC), "-n", str(n), sys.executable, "-c", start + program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout)


def trained(n: int, names: str, steps: int, chunks: int | None = None) -> str:
    """The SHA-256 of the parameters of each lesson after training on n ranks."""
    program = """
import sys
from tinytensor import lessons
from tinytensor.train import Training
names, steps, chunks = sys.argv[1].split(","), int(sys.argv[2]), eval(sys.argv[3])
for name in names:
    data = tt.datasets.mnist()._replace(
        test_images=tt.datasets.mnist().test_images[:600],
        test_labels=tt.datasets.mnist().test_labels[:600],
    )
    run = Training(lessons.find(name), data, steps=steps, world=world, chunks=chunks)
    *_, last = run
    found = run.weights_checksum()
    if world.rank == 0:
        losses = last.test_loss, last.train_loss
        print(name, found, *losses, last.test_accuracy, last.train_accuracy)
"""
    done = ranks(n, program, names, str(steps), str(chunks))
    assert done.returncode == 0, done.stderr
    return done.stdout


def few_tests(lesson: str, **settings: object) -> Training:
    data = tt.datasets.mnist()
    data = data._replace(test_images=data.test_images[:250], test_labels=data.test_labels[:250])
    return Training(lessons.find(lesson), data, **settings)


# Without MPI ------------------------------------------------------------------------------------


def test_a_program_without_mpi_is_a_world_of_one_rank():
    world = parallel.world()
    assert (world.rank, world.size, world.is_launched) == (0, 1, False)
    x = np.arange(3.0)
    world.sum(x)
    world.broadcast(x)
    world.check_same("here", {"a": "b"})
    assert x.tolist() == [0, 1, 2]
    assert world.broadcast_text("text") == "text"


def one_step(
    lesson: str, chunks: int | None, **settings: object
) -> tuple[Training, list[np.ndarray]]:
    training = few_tests(lesson, steps=10, chunks=chunks, **settings)
    training.model.train()
    training.last = training.make_step()
    return training, [p.grad.numpy().copy() for p in training.optimizer.params]


@pytest.mark.parametrize("lesson", LESSONS)
@pytest.mark.parametrize("chunks", [3, 4])
def test_chunks_give_the_gradients_of_the_whole_batch(lesson, chunks):
    whole, grads = one_step(lesson, None)
    state = random.state().copy()
    divided, sums = one_step(lesson, chunks)
    assert (random.state() == state).all()  # the same number of masks was drawn
    for grad, total in zip(grads, sums, strict=True):
        np.testing.assert_allclose(total, grad, rtol=0, atol=2e-5 * np.abs(grad).max())
    assert divided.last.loss == pytest.approx(whole.last.loss, rel=1e-6)
    logits = whole.last.logits.numpy()
    np.testing.assert_allclose(divided.last.logits.numpy(), logits, rtol=0, atol=1e-4)
    for (name, x), (_, y) in zip(
        divided.model.named_tensors(), whole.model.named_tensors(), strict=True
    ):
        if name.endswith((".mean", ".var")):
            np.testing.assert_allclose(x.numpy(), y.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_chunks_give_these_gradients_on_every_backend(backend):
    with tt.backend(backend):
        _, grads = one_step("fast", None)
        _, sums = one_step("fast", 4)
    for grad, total in zip(grads, sums, strict=True):
        np.testing.assert_allclose(total, grad, rtol=0, atol=2e-5 * np.abs(grad).max())


def test_one_chunk_gives_the_bits_of_an_undivided_batch():
    for lesson in ("2.2", "fast"):
        _, grads = one_step(lesson, None)
        _, sums = one_step(lesson, 1)
        assert all((x == y).all() for x, y in zip(grads, sums, strict=True))


@pytest.mark.parametrize("lesson", ["2.2", "fast"])
def test_captured_and_eager_chunks_give_the_same_bits(lesson):
    found = []
    for eager in (False, True):
        training = few_tests(lesson, steps=6, chunks=4, eager=eager)
        list(training)
        found.append(training.weights_checksum())
    assert found[0] == found[1]


def test_local_moments_are_those_of_each_chunk():
    synchronized, _ = one_step("4.0", 4)
    local, _ = one_step("4.0", 4, batch_norm="local")
    assert local.last.loss != synchronized.last.loss


def test_the_exchanges_are_printed_with_their_bytes():
    training, _ = one_step("1.0", 2)
    training.make_step()
    step = training.parallel._steps[0]
    size = 4 * (784 * 10 + 10 + 1 + 2)
    assert f"exchanged with the other chunks of the batch: {size:,} bytes" in str(step.program)


def test_a_checkpoint_of_chunks_resumes_with_chunks_only(tmp_path):
    file = tmp_path / "run.safetensors"
    training = few_tests("2.2", steps=6, chunks=4)
    for _ in range(3):
        training.model.train()
        training.make_step()
    training.save(file)
    list(training)
    resumed = few_tests("2.2", steps=6, chunks=4)
    resumed.resume(file)
    list(resumed)
    assert resumed.weights_checksum() == training.weights_checksum()
    with pytest.raises(tt.DataError, match="chunks"):
        few_tests("2.2", steps=6, chunks=2).resume(file)
    with pytest.raises(tt.DataError, match="chunks"):
        few_tests("2.2", steps=6).resume(file)


def test_an_error_in_one_chunk_is_raised_and_the_next_step_works():
    training = few_tests("2.1", steps=6, chunks=4)
    training.model.train()
    images, labels = training.next_batch()
    wrong = labels.copy()
    wrong[60] = 10  # in the third chunk
    with pytest.raises(tt.LabelError):
        training.parallel(images, wrong)
    assert np.isfinite(training.make_step().loss)


@pytest.mark.parametrize(("batch", "chunks"), [(100, 0), (3, 4)])
def test_impossible_chunks_are_refused(batch, chunks):
    with pytest.raises(SettingError, match="chunks"):
        few_tests("1.0", batch=batch, chunks=chunks)


def test_dropout_refuses_another_first_axis_than_the_images():
    (share, *_) = parallel.Team(parallel.ALONE, 8, 2).shares
    with share.computing(), pytest.raises(NotSupported, match="images"):
        tt.dropout(tt.ones(5, 3))


def test_a_chunk_of_one_image_has_no_variance():
    with pytest.raises(ShapeError, match="one value per channel"):
        one_step("4.0", 4, batch=4)


def test_the_coach_reads_the_first_chunk_and_the_gradients_of_the_batch():
    def large() -> nn.Sequential:
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
        model.layers[1].weight.array[...] *= 1000
        return model

    lesson = replace(lessons.find("1.0"), model=large)
    data = tt.datasets.mnist()
    found = []
    for chunks in (None, 4):
        training = Training(lesson, data, steps=4, chunks=chunks)
        training.model.train()
        with training.watch_mistakes(None) as coach:
            losses = [training.make_step().loss for _ in range(4)]
        assert [finding.name for finding in coach.findings][:1] == ["loss-at-start"]
        found.append(float(coach.findings[0].evidence.split("loss is ")[1].split(",")[0]))
        assert found[-1] == pytest.approx(losses[0], rel=0.5)  # 25 images or all 100, no quarter
        assert coach.progress.ratios
    assert found[0] != found[1]


# With MPI ---------------------------------------------------------------------------------------


@needs_mpi
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_sum_broadcast_and_comparison(n):
    program = """
import numpy as np
x = np.arange(5.0, dtype=np.float32) + world.rank
world.sum(x)
assert x.tolist() == [world.size * i + sum(range(world.size)) for i in range(5)], x
a, b = np.full((2, 3), world.rank), np.full(1, world.rank)
world.broadcast(a, b)
assert not a.any() and not b.any()
assert world.broadcast_text("héllo" * (1 - world.rank)) == "héllo"
world.check_same("here", {"x": "same"})
import sys
assert world.size == world.local_size == int(sys.argv[1]) and world.is_launched
print("done")
"""
    done = ranks(n, program, str(n))
    assert done.stdout.count("done") == n, done.stderr  # two lines may be mixed


@needs_mpi
@pytest.mark.parametrize("n", [2, pytest.param(4, marks=pytest.mark.full)])
def test_small_and_large_arrays_are_added_in_the_same_order(n):
    program = """
import numpy as np
def values(rank, size):
    return np.random.default_rng(rank).standard_normal(size).astype(np.float32)
for size in (1000, 200_003):
    parts = [values(rank, size) for rank in range(world.size)]
    while len(parts) > 1:
        parts = [a + b for a, b in zip(parts[::2], parts[1::2])]
    x = values(world.rank, size)
    world.sum(x)
    assert x.tobytes() == parts[0].tobytes()
x = np.full((300, 300), world.rank)  # int64
world.sum(x)
assert (x == sum(range(world.size))).all()
"""
    done = ranks(n, program)
    assert done.returncode == 0, done.stderr


@needs_mpi
@pytest.mark.full
def test_the_first_two_steps_and_those_on_another_backend_are_not_timed():
    program = """
import time
from tinytensor import lessons
from tinytensor.train import Training
state = world._liveness

def longest():
    with world.in_step():
        time.sleep(0.01)
        return state._status().longest

first, second, third = longest(), longest(), longest()
assert first == second == state._status().longest == 0 and third >= 0.01
run = Training(lessons.find("1.0"), tt.datasets.mnist(), world=world, steps=9)
assert longest() == 0
run.model.train()
for _ in range(3):
    run.make_step()
assert longest() > 0
run.use_new_backend()
assert longest() == longest() == 0
"""
    done = ranks(2, program)
    assert done.returncode == 0, done.stderr


@needs_mpi
def test_one_two_and_four_ranks_give_the_same_bits():
    one = trained(1, "1.0,2.2,3.1,4.0,fast", 9)
    assert len(one.split("\n")) == 6
    assert trained(2, "1.0,2.2,3.1,4.0,fast", 9) == one
    assert trained(4, "1.0,2.2,3.1,4.0,fast", 9) == one


@needs_mpi
@pytest.mark.full
@pytest.mark.parametrize("lesson", LESSONS)
def test_every_lesson_has_the_same_bits_after_200_steps(lesson):
    one = trained(1, lesson, 200)
    assert trained(2, lesson, 200) == one
    assert trained(4, lesson, 200) == one


@needs_mpi
def test_three_ranks_agree_with_one_within_a_tolerance():
    three = trained(3, "2.2", 9).split()
    one = trained(1, "2.2", 9).split()
    assert float(three[2]) == pytest.approx(float(one[2]), rel=1e-4)


@needs_mpi
def test_a_loop_of_your_own_averages_its_gradients():
    program = """
from tinytensor import nn
tt.manual_seed(world.rank)  # other weights on each rank, until they are broadcast
model = nn.Linear(4, 2)
world.broadcast(*(x.array for _, x in model.named_tensors()))
optimizer = tt.optim.SGD(model.parameters(), lr=0.1)

@tt.capture
def step(x):
    loss = (model(x) ** 2).mean()
    optimizer.zero_grad()
    loss.backward()
    tt.parallel.average_gradients(world, optimizer.params)
    optimizer.step()
    return loss

x = tt.arange(32, dtype="float32").reshape(8, 4) / 32
share = 8 // world.size
for _ in range(5):
    step(x[world.rank * share : (world.rank + 1) * share])
world.check_same("loop", {"weight": str(model.weight.tolist())})
print(model.weight.numpy().sum() if world.rank == 0 else "")
assert world.size == 1 or "exchanged" in str(step.program)
"""
    sums = [float(ranks(n, program).stdout) for n in (1, 2, 4)]
    assert sums == pytest.approx([sums[0]] * 3, rel=1e-5)


@needs_mpi
@pytest.mark.full
def test_a_fit_with_early_stopping_resumes_on_all_ranks(tmp_path):
    program = f"""
import numpy as np
from tinytensor import nn
x = np.random.default_rng(1).standard_normal((80, 20)).astype(np.float32)
y = np.random.default_rng(2).integers(0, 2, 80)
file = {str(tmp_path / "run.safetensors")!r}

def fit(**settings):
    tt.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 2))
    optimizer = tt.optim.Adam(model.parameters(), lr=0.05)
    report = tt.fit(
        model, (x, y), batch=20, validation=20, patience=2, optimizer=optimizer, show=None,
        **settings,
    )
    weights = [float(p.numpy().sum()) for p in model.parameters()]
    return report.step, report.test_loss, *weights

whole = fit(epochs=12, coach=True)
fit(epochs=2, save=file)
assert fit(epochs=12, resume=file) == whole
assert whole[0] < 36, "stopped early"
world.check_same("fit", {{"found": str(whole)}})
"""
    made = ranks(2, program)
    assert made.returncode == 0, made.stderr


@needs_mpi
def test_fit_trains_on_all_ranks_and_shows_each_report_once():
    program = """
from tinytensor import nn
data = tt.datasets.mnist()._replace(train_images=tt.datasets.mnist().train_images[:2000],
                                    train_labels=tt.datasets.mnist().train_labels[:2000])
tt.manual_seed(3)
model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
report = tt.fit(model, data, epochs=2)
world.check_same("fit", {"weights": str(model.layers[1].weight.numpy().sum())})
"""
    one, two = ranks(1, program), ranks(2, program)
    assert two.returncode == 0, two.stderr
    assert len(two.stdout.splitlines()) == 2
    assert two.stdout == one.stdout


@needs_mpi
@pytest.mark.full
@pytest.mark.parametrize(
    "size", ["3 + world.rank", "4 - world.rank", "200_000 + world.rank", "200_001 - world.rank"]
)
def test_a_sum_of_arrays_of_different_sizes_is_an_error_on_each_rank(size):
    program = f"""
import numpy as np
from tinytensor.errors import ShapeError
try:
    world.sum(np.zeros({size}, np.float32))
except ShapeError as error:
    print(error)
"""
    done = ranks(2, program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("one of another size") == 2


def test_a_sum_needs_a_contiguous_array():
    with pytest.raises(ShapeError, match=r"not contiguous; sum a copy"):
        tt.parallel.world().sum(np.zeros((3, 4))[:, ::2])


@needs_mpi
@pytest.mark.full
def test_local_batch_norm_is_tested_with_the_moving_averages_of_rank_0():
    program = """
from tinytensor import lessons
from tinytensor.train import Training
data = tt.datasets.mnist()
data = data._replace(test_images=data.test_images[:600], test_labels=data.test_labels[:600])
run = Training(
    lessons.find("4.1"), data, steps=4, world=world, chunks=4, batch_norm="local", evaluate_every=2
)
*_, last = run
found = run.weights_checksum()
if world.rank == 0:
    print(found, last.test_loss, last.test_accuracy)
"""
    alone, two = ranks(1, program), ranks(2, program)
    assert two.returncode == 0, two.stderr
    assert alone.stdout == two.stdout != ""
