"""Runs a command line. An error that the user can correct is one line, with exit status 2."""

import atexit
import gc
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn, TextIO

import click

from tinytensor_command.commands import program


def run(arguments: list[str] | None) -> None:
    """Run a command; see tinytensor_command.main."""
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
    except BrokenPipeError:  # the reader of standard output has closed it
        _discard(sys.stdout, sys.stderr)
        sys.exit(141)
    except OSError as error:
        if error.filename is not None or error.errno is None:
            raise  # not an error of standard output
        _discard(sys.stdout)
        _fail(f"the output can't be written: {error.strerror}")
    except Exception as error:
        from tinytensor.errors import TinytensorError  # here, because it imports NumPy

        if not isinstance(error, TinytensorError):
            raise
        _fail(str(error))


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


def _fail(message: str) -> NoReturn:
    ranks = _ranks()
    if ranks is not None:
        ranks.wait_for_lower_ranks()
        message = f"rank {ranks.rank}: {message}"
    try:
        click.echo(f"tinytensor: {' '.join(message.split())}", err=True)
    except OSError:  # standard error is closed too; only the exit status is left
        _discard(sys.stderr)
    if ranks is not None:
        ranks.abort(2)
    sys.exit(2)


def _ranks() -> Any:
    """The ranks of this run, if MPI has started; else None."""
    module = sys.modules.get("tinytensor.ranks.world")
    return module.started() if module else None


def stop() -> NoReturn:
    """End this command after Ctrl-C, and the other ranks."""
    ranks = _ranks()
    if ranks is not None:
        ranks.wait_for_lower_ranks()
    print("tinytensor: stopped", file=sys.stderr)
    if ranks is not None:
        ranks.abort(130)
    sys.exit(130)
