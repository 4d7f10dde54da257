"""A check that an optional library is installed, which a feature needs and the package does not."""

from importlib.util import find_spec

from tinytensor.errors import SettingError


def check_installed(feature: str, extra: str, *libraries: str) -> None:
    """Raise SettingError if one of the libraries is not installed.

    feature: the name of the feature that needs the libraries, for the message.
    extra: the extra of the package that installs them, such as "live".
    libraries: the names of the packages, as in an import statement.
    """
    for library in libraries:
        if find_spec(library) is None:
            package = PACKAGES.get(library, library)
            raise SettingError(
                f"{feature}: {package} is not installed; "
                f"run: pip install 'tinytensor-engine[{extra}]' (or pip install {package})"
            )


PACKAGES = {"PIL": "pillow", "sklearn": "scikit-learn"}  # names of imports that pip doesn't have
