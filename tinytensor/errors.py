"""Every error tinytensor raises on purpose, in one tree.

TinytensorError
├── ShapeError            (ValueError)    sizes that don't fit together
├── DTypeError            (TypeError)     a kind of number that the operation doesn't take
├── IndexingError         (IndexError)    an index outside the tensor, or of the wrong kind
├── LabelError            (ValueError)    a class label outside 0 ... classes - 1
├── GradientError         (RuntimeError)  backward where there is nothing to go back through
├── CaptureError          (RuntimeError)  what a captured step can't do, and what does it instead
├── AnomalyError          (ArithmeticError)  a NaN or infinity was born, under detect_anomaly()
├── UnknownName           (LookupError)   no lesson, backend, rung, claim or data set of that name
├── SettingError          (ValueError)    an option or environment variable with an unusable value
├── NotSupported          (TypeError)     what tensors can't do, and what does it instead
├── BackendUnavailable    (RuntimeError)  a backend that can't work here; the command that mends it
└── DataError             (ValueError)    files that aren't the data set they should be

A message says which operation or file it was, what came, and what was needed.
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
    """The root of the tree: catches everything below."""


class ShapeError(TinytensorError, ValueError):
    """Sizes that don't fit together."""

    @classmethod
    def drawn(
        cls, problem: str, shapes: Mapping[str, tuple[tuple[int, ...], Collection[int]]], cure: str
    ) -> "ShapeError":
        """An error that draws the shapes under each other, with the axes that fail marked.

        shapes: for each operand's name its shape and the axes to mark.
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
    """A kind of number that the operation doesn't take."""


class IndexingError(TinytensorError, IndexError):
    """An index outside the tensor, or of the wrong kind."""


class LabelError(TinytensorError, ValueError):
    """A class label outside 0 ... classes - 1."""


class GradientError(TinytensorError, RuntimeError):
    """Backward where there is nothing to go back through, or a gradient that is wrong."""


class CaptureError(TinytensorError, RuntimeError):
    """What a step can't do while it is recorded as a program."""


class AnomalyError(TinytensorError, ArithmeticError):
    """A NaN or an infinity was born where detect_anomaly() watches."""


class UnknownName(TinytensorError, LookupError):  # noqa: N818 - reads better where it is raised
    """No lesson, backend, rung, claim or data set of that name."""


class SettingError(TinytensorError, ValueError):
    """An option or environment variable with an unusable value."""


class NotSupported(TinytensorError, TypeError):  # noqa: N818 - the same
    """What tensors can't do; the message says what does it instead."""


class BackendUnavailable(TinytensorError, RuntimeError):  # noqa: N818 - the same
    """A backend that can't work here."""


class DataError(TinytensorError, ValueError):
    """Files that aren't the data set they should be."""
