"""The command line `tinytensor`.

course, lessons, lesson, train, race, program, try    the course
predict                                               a trained network
replay, report                                        a run file
ladder, explain                                       versions of a kernel, from naive to fast
bench                                                 benchmarks
info                                                  backends and machine
"""

import atexit
import gc
import os
import sys
from collections.abc import Sequence
from typing import TextIO

import click

from tinytensor import __version__, interrupt
from tinytensor.cli import (
    bench_command,
    course_commands,
    info_command,
    ladder_command,
    predict_command,
    race_command,
    run_file_commands,
    train_command,
)
from tinytensor.errors import TinytensorError


def main(arguments: list[str] | None = None) -> None:
    """Run a command, and exit.

    An error that the user can correct is printed as one line on standard error, with exit status 2.

    arguments: sys.argv[1:] by default.
    """
    interrupt.raise_on_interrupt()
    # A process collects garbage when it ends. With Bokeh that takes up to 1 s of CPU time, so all
    # objects are exempted from the collection.
    atexit.register(gc.freeze)
    if "_TINYTENSOR_COMPLETE" in os.environ:  # called by a shell's completion
        program.main(prog_name="tinytensor")
    try:
        # Not program.main(), because it exits with status 1 on a broken pipe.
        given = sys.argv[1:] if arguments is None else list(arguments)
        with program.make_context("tinytensor", given or ["--help"]) as context:
            program.invoke(context)
    except click.exceptions.Exit as done:  # after --help, --version
        sys.exit(done.exit_code)
    except click.BadParameter as error:
        _name_source(error, given)
        _fail(error.format_message())
    except click.ClickException as error:
        _fail(error.format_message())
    except TinytensorError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        click.echo("tinytensor: stopped", err=True)
        sys.exit(130)
    except BrokenPipeError:  # the reader of standard output has closed it
        _discard(sys.stdout, sys.stderr)
        sys.exit(141)
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise  # not an error of standard output
        _discard(sys.stdout)
        _fail(f"the output can't be written: {error.strerror}")


def _name_source(error: click.BadParameter, given: Sequence[str]) -> None:
    """Name the environment variable in the message, if the value came from one."""
    option = error.param
    if not isinstance(option, click.Option) or not os.environ.get(str(option.envvar)):
        return
    if not any(word.split("=")[0] in option.opts for word in given):
        error.param_hint = str(option.envvar)


def _discard(*streams: TextIO) -> None:
    """Redirect streams to /dev/null, so that flushing them at exit can't fail."""
    for stream in filter(None, streams):  # sys.stdout is None if standard output is closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _fail(message: str) -> None:
    try:
        click.echo(f"tinytensor: {' '.join(message.split())}", err=True)
    except OSError:  # standard error is closed too; only the exit status is left
        _discard(sys.stderr)
    sys.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="tinytensor %(version)s")
def program() -> None:
    """A small, readable tensor engine that learns to read digits, on C, Numba or NumPy."""


for command in (
    course_commands.course_command,
    course_commands.lessons_command,
    course_commands.lesson_command,
    train_command.train_command,
    race_command.race_command,
    course_commands.program_command,
    course_commands.try_command,
    predict_command.predict_command,
    run_file_commands.replay_command,
    run_file_commands.report_command,
    ladder_command.ladder_command,
    ladder_command.explain_command,
    bench_command.bench_command,
    info_command.info_command,
):
    program.add_command(command)
