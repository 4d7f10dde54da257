"""The documentation site: `python -m sphinx -W -b html docs docs/_build/html`.

Every page is Markdown. Cells marked `code-cell` run while the site is built, so a page shows what
the code prints. An exception in a cell and a warning of Sphinx end the build.
"""

import os
import shutil
import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "extensions"))

import tinytensor  # noqa: E402

project = "tinytensor"
author = "the authors of tinytensor"
version = release = tinytensor.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "chapters",  # writes a page for each lesson
    "diffs",  # shows changes to the package
    "docstrings",  # docstrings of the package as reStructuredText
    "offline",  # an error for what a page loads from another host
    "shell",  # shell cells show their commands only
    "sources",  # a page for each source file, and links to its lines
]
exclude_patterns = ["_build", "extensions"]

# Pages with code
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # seconds for a cell; most need less than one
nb_execution_in_temp = True  # a page's files are its own
nb_merge_streams = True
nb_render_markdown_format = "myst"  # with tables and links to pages
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

# The reference
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # shapes and dtypes, which say more, are in the docstrings
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

# HTML. Fonts, scripts and search are part of the site: it works from a folder, without a network.
html_theme = "furo"
html_title = f"tinytensor {version}"
html_static_path = ["_static"]
html_extra_path = ["_generated"]  # whole pages that cells copy to $DOCS_PAGES
html_css_files = ["custom.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
pygments_style = "friendly"
pygments_dark_style = "monokai"

# Kernels run kernel_startup.py when they start.
STARTUP = DOCS / "_build" / "ipython" / "profile_default" / "startup"
STARTUP.mkdir(exist_ok=True, parents=True)
shutil.copy(DOCS / "extensions" / "kernel_startup.py", STARTUP)
os.environ["IPYTHONDIR"] = str(STARTUP.parents[1])

PAGES = DOCS / "_generated"
PAGES.mkdir(exist_ok=True)
os.environ["DOCS_PAGES"] = str(PAGES)
# Shell cells find the commands of this Python, also if its environment is not activated.
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
