"""The folder of the C sources, which an installed package has too."""

from pathlib import Path

from tinytensor.errors import DataError


def c_sources(caller: str) -> Path:
    """Return the folder of the C sources: in an installed package, or next to the package.

    caller: the start of an error message.

    Raises:
        DataError: there is no such folder.
    """
    package = Path(__file__).parents[1]
    for folder in (package / "csrc", package.parent / "csrc"):
        if (folder / "ladder" / "ladder.h").is_file():
            return folder
    raise DataError(
        f"{caller}: the C sources are not in {package / 'csrc'}; install tinytensor again: run "
        "`pip install --force-reinstall --no-deps .` in its folder"
    )
