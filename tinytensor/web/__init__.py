"""A training step in a web page, without Python.

    webassembly.py    compiles the C kernels to WebAssembly, once
    wasm_program.py   a program's kernel calls, with addresses in the memory of WebAssembly
    page_content.py   the programs of a page, and the values and images that they read
    html_file.py      export_html: the page, the kernels, the programs and the images in one file
    network.js        makes the kernel calls: training, test, a drawn image
    page.html         the page, and page.js what it draws

A program is a list of kernel calls on buffers, so it runs wherever the C kernels run.
"""

from tinytensor.web.html_file import export_html

__all__ = ["export_html"]
