"""The command `tinytensor`: its arguments, options and help.

    commands.py        the commands with their arguments, options and help
    options.py         options of several commands, and the types of their values
    known_names.py     the names that shells complete
    command_line.py    runs a command line, and prints errors

The package `tinytensor.cli` has what each command does. It imports NumPy, which takes longer than a
help text or a completion may, so a command imports it only when it runs.
"""

import sys


def main(arguments: list[str] | None = None) -> None:
    """Run a command, and exit.

    An error that the user can correct is printed as one line on standard error, with exit status 2.

    arguments: sys.argv[1:] by default.
    """
    try:  # Ctrl-C during an import ends the command like any other Ctrl-C
        from tinytensor_command.command_line import run

        run(arguments)
    except KeyboardInterrupt:
        command_line = sys.modules.get("tinytensor_command.command_line")
        if command_line is not None:
            command_line.stop()
        print("tinytensor: stopped", file=sys.stderr)
        sys.exit(130)
