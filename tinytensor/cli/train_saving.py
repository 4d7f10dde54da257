"""Saves the checkpoints of `tinytensor train`, and prints the command that continues."""

import shlex

import click

from tinytensor.cli.output import given_options
from tinytensor.saver import Saver
from tinytensor.train import Training


def finish_saving(saver: Saver, lesson: str) -> None:
    """Save the last checkpoint, if it is not saved yet, and print what was saved."""
    saver.finish()
    training = saver.training
    if training.best is not None:
        best = training.best
        click.echo(
            f"best validation accuracy: {best.accuracy:.4f} after step {best.step:,}", err=True
        )
    _print_saved(saver, lesson)


def _print_saved(saver: Saver, lesson: str) -> None:
    command = _command_to_resume(saver.training, lesson, str(saver.file))
    click.echo(f"saved after step {saver.step:,}{command}", err=True)


def print_saved_early(
    saver: Saver, lesson: str, kind: type[BaseException] | None, *_: object
) -> None:
    """Print what was saved if Ctrl-C came during the first step, which the thread finished."""
    if kind is KeyboardInterrupt and saver.step is not None:
        _print_saved(saver, lesson)


# The options that a resumed run must share with the run before, or that it continues.
_SHARED = (
    "backend",
    "batch",
    "chunks",
    "batch_norm",
    "lr",
    "scale_rate",
    "optimizer",
    "keep_prob",
    "seed",
    "threads",
    "data",
    "size",
)
_CONTINUED = ("eval_every", "save_every", "save_best", "log_name")


def _command_to_resume(training: Training, lesson: str, file: str) -> str:
    """The end of a line that gives the command to resume the run, or an empty text if it is over.

    A run that has made all its steps can only make more if its learning rate doesn't depend on
    their number.
    """
    is_over = training.step == training.steps
    if is_over and training.depends_on_steps:
        return ""
    world = training.world
    start = ["launch", "-n", str(world.size)] if world.is_launched else []
    kept = {*_SHARED, *_CONTINUED, *(() if is_over else ("steps",))}
    # A viewer of the live page may have changed a setting.
    if "lr" in training.changed:  # it is not scaled
        kept.remove("scale_rate")
    words = ["tinytensor", *start, "train", lesson, *given_options(kept, training.changed)]
    if is_over:
        words += ["--steps", str(2 * training.steps)]
    return f"; to continue: {shlex.join([*words, '--resume', file, '--save', file])}"
