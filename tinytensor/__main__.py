"""`python -m tinytensor` is the command `tinytensor`."""

from tinytensor import interrupt
from tinytensor_command import main

interrupt.raise_on_interrupt()
main()
