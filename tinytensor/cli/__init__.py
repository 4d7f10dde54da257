"""The command line: arguments in, text out.

The course: `tinytensor lessons`, `lesson NAME`, `train LESSON`, `race LESSON`, `program LESSON`,
`try CLAIM`; a trained network: `predict`; a recorded run: `replay`, `report`; how kernels become
fast: `ladder`, `explain`; how fast it all is: `bench`; what works here: `info`.
"""

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
    """Run a command; what the user can mend is one line on standard error, and exit code 2."""
    interrupt.is_exception()
    if "_TINYTENSOR_COMPLETE" in os.environ:  # a shell asks what may come next
        program.main(prog_name="tinytensor")
    try:
        # Not program.main(): there a broken pipe would already be exit code 1.
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
    except BrokenPipeError:  # the reader of our output has left
        _discard(sys.stdout, sys.stderr)
        sys.exit(141)
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise  # not of our output
        _discard(sys.stdout)
        _fail(f"the output can't be written: {error.strerror}")


def _name_source(error: click.BadParameter, given: Sequence[str]) -> None:
    """Let the message name the environment variable, where the value came from one."""
    option = error.param
    if not isinstance(option, click.Option) or not os.environ.get(str(option.envvar)):
        return
    if not any(word.split("=")[0] in option.opts for word in given):
        error.param_hint = str(option.envvar)


def _discard(*streams: TextIO) -> None:
    """Send what is still to be written, at the exit at the latest, to nowhere."""
    for stream in filter(None, streams):  # Python has None for one that is closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _fail(message: str) -> None:
    try:
        click.echo(f"tinytensor: {' '.join(message.split())}", err=True)
    except OSError:  # nobody can be told, but the exit code
        _discard(sys.stderr)
    sys.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="tinytensor %(version)s")
def program() -> None:
    """A small, readable tensor engine that learns to read digits, on C, Numba or NumPy."""


for command in (
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
