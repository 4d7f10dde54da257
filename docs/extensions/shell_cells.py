"""Runs in the kernel of each page: `%%sh` prints the whole output of its commands at once.

IPython's own `%%sh` passes the output on in pieces, and the pages would break lines between them.
"""

import subprocess

from IPython.core.magic import register_cell_magic


@register_cell_magic
def sh(_line: str, cell: str) -> None:
    """Run shell commands; print what they write; raise CalledProcessError if the last one fails."""
    result = subprocess.run(
        cell, shell=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    print(result.stdout, end="")
    result.check_returncode()
