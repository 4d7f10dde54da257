"""Runs in the kernel of each page when it starts.

`%%sh` prints the whole output of its commands at once, because IPython's own `%%sh` passes it on in
pieces, and the pages would break lines between them. An error is shown without its traceback.
"""

import subprocess

from IPython.core.getipython import get_ipython
from IPython.core.magic import register_cell_magic

get_ipython().run_line_magic("xmode", "Minimal")


@register_cell_magic
def sh(_line: str, cell: str) -> None:
    """Run shell commands; print what they write; raise CalledProcessError if the last one fails."""
    result = subprocess.run(
        cell, shell=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    print(result.stdout, end="")
    result.check_returncode()
