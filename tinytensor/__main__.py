"""`python -m tinytensor` is the command `tinytensor`."""

from tinytensor.cli import main

main()
