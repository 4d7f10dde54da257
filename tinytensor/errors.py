"""Every error tinytensor raises on purpose, in one tree.

TinytensorError
├── ShapeError            (ValueError)    sizes that don't fit together
├── DTypeError            (TypeError)     a kind of number that the operation doesn't take
├── LabelError            (ValueError)    a class label outside 0 ... classes - 1
├── GradientError         (RuntimeError)  backward where there is nothing to go back through
├── UnknownName           (LookupError)   no lesson or backend of that name
├── SettingError          (ValueError)    an option or environment variable with an unusable value
├── BackendUnavailable    (RuntimeError)  a backend that can't work here; the command that mends it
└── DataError             (ValueError)    files that aren't the data set they should be

A message says which operation or file it was, what came, and what was needed.
"""

__all__ = [
    "BackendUnavailable",
    "DTypeError",
    "DataError",
    "GradientError",
    "LabelError",
    "SettingError",
    "ShapeError",
    "TinytensorError",
    "UnknownName",
]


class TinytensorError(Exception):
    """The root of the tree: catches everything below."""


class ShapeError(TinytensorError, ValueError):
    """Sizes that don't fit together."""


class DTypeError(TinytensorError, TypeError):
    """A kind of number that the operation doesn't take."""


class LabelError(TinytensorError, ValueError):
    """A class label outside 0 ... classes - 1."""


class GradientError(TinytensorError, RuntimeError):
    """Backward where there is nothing to go back through, or a gradient that is wrong."""


class UnknownName(TinytensorError, LookupError):  # noqa: N818 - reads better where it is raised
    """No lesson or backend of that name."""


class SettingError(TinytensorError, ValueError):
    """An option or environment variable with an unusable value."""


class BackendUnavailable(TinytensorError, RuntimeError):  # noqa: N818 - the same
    """A backend that can't work here."""


class DataError(TinytensorError, ValueError):
    """Files that aren't the data set they should be."""
