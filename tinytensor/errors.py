"""The exceptions that tinytensor raises, in one class hierarchy.

TinytensorError
├── ShapeError            (ValueError)       shapes that don't fit together
├── DTypeError            (TypeError)        a dtype that the operation is not defined for
├── IndexingError         (IndexError)       an index out of range, or of the wrong type
├── LabelError            (ValueError)       a class label outside 0 ... classes - 1
├── GradientError         (RuntimeError)     no graph for the gradients, or a wrong gradient
├── CaptureError          (RuntimeError)     something that a captured step can't do
├── AnomalyError          (ArithmeticError)  the first NaN or infinity, under detect_anomaly()
├── UnknownName           (LookupError)      no lesson, backend, rung, ... has this name
├── SettingError          (ValueError)       an invalid option, argument or variable
├── NotSupported          (TypeError)        something that tensors can't do
├── BackendUnavailable    (RuntimeError)     a backend that can't run on this machine
└── DataError             (ValueError)       a file that is missing or has another format

Each class also derives from the built-in exception in brackets, so `except ValueError` works too.
A message names the operation or the file, what it got, what is needed and, where there is one, the
call or command that helps.
"""

from collections.abc import Collection, Mapping

__all__ = [
    "AnomalyError",
    "BackendUnavailable",
    "CaptureError",
    "DTypeError",
    "DataError",
    "GradientError",
    "IndexingError",
    "LabelError",
    "NotSupported",
    "SettingError",
    "ShapeError",
    "TinytensorError",
    "UnknownName",
]


class TinytensorError(Exception):
    """The base class of all exceptions that tinytensor raises."""

    def _render_traceback_(self) -> list[str]:
        """The traceback that IPython prints: the calls of the user's code, and the message."""
        import traceback

        own = [
            (frame, line)
            for frame, line in traceback.walk_tb(self.__traceback__)
            if frame.f_globals.get("__name__", "").split(".")[0] not in ("tinytensor", "IPython")
        ]
        calls = traceback.StackSummary.extract(own).format()
        return "".join([*calls, *traceback.format_exception_only(self)]).splitlines()


class ShapeError(TinytensorError, ValueError):
    """The shapes of the operands don't fit together."""

    @classmethod
    def drawn(
        cls, problem: str, shapes: Mapping[str, tuple[tuple[int, ...], Collection[int]]], cure: str
    ) -> "ShapeError":
        """Return an error whose message lists the shapes and marks the axes that don't fit.

        Args:
            problem: the first line of the message.
            shapes: for the name of each operand, its shape and the axes to mark with ^.
            cure: the last line, which says what to do; may be empty.
        """
        width = max(map(len, shapes))
        lines = [problem]
        for name, (shape, marked) in shapes.items():
            sizes = [str(size) for size in shape]
            marks = [("^" if a in marked else " ") * len(size) for a, size in enumerate(sizes)]
            end = ",)" if len(sizes) == 1 else ")"
            lines.append(f"    {name:{width}}  ({', '.join(sizes)}{end}")
            lines.append(f"    {'':{width}}   {'  '.join(marks)}".rstrip())
        lines.append(f"    {cure}")
        return cls("\n".join(line for line in lines if line))


class DTypeError(TinytensorError, TypeError):
    """The operation is not defined for this dtype."""


class IndexingError(TinytensorError, IndexError):
    """An index is out of range or of the wrong type."""


class LabelError(TinytensorError, ValueError):
    """A class label is outside 0 ... classes - 1."""


class GradientError(TinytensorError, RuntimeError):
    """A tensor has no graph to compute gradients from, or a gradient is wrong."""


class CaptureError(TinytensorError, RuntimeError):
    """A captured step does something that a recorded program can't replay."""


class AnomalyError(TinytensorError, ArithmeticError):
    """An op computed a NaN or an infinity from finite operands, under detect_anomaly()."""


class UnknownName(TinytensorError, LookupError):  # noqa: N818 - a name, not ...Error
    """No lesson, backend, rung, claim or data set has this name."""


class SettingError(TinytensorError, ValueError):
    """An option, argument or environment variable has an invalid value."""


class NotSupported(TinytensorError, TypeError):  # noqa: N818 - the same
    """Tensors can't do this; the message names what does it instead."""


class BackendUnavailable(TinytensorError, RuntimeError):  # noqa: N818 - the same
    """The backend can't run on this machine; the message has the reason and a remedy.

    Attributes:
        details: the output of the compiler, if it failed, or an empty string.
    """

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


class DataError(TinytensorError, ValueError):
    """A data or model file is missing, damaged or of another format."""

    @classmethod
    def unread(cls, file: object, error: Exception, needed: str) -> "DataError":
        """Return the error for a file whose reading failed: the system's reason, or what is needed.

        Args:
            file: the file's name.
            error: what the reader raised.
            needed: such as "a .npy file is needed"; used if the system gave no reason.
        """
        if isinstance(error, OSError) and error.strerror:
            return cls(f"{file}: can't be read: {error.strerror}")
        return cls(f"{file}: {needed} ({error})")
