"""Examples that are no images in classes: rows of numbers, and targets of a regression."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tinytensor.arrays import Array
from tinytensor.datasets import (
    Dataset,
    check_names,
    checked_labels,
    names_up_to,
    one_label_each,
    same_shape,
)
from tinytensor.errors import DTypeError, ShapeError
from tinytensor.ops.operands import as_array


class Examples(Dataset):
    """Rows (N, ...) with labels or targets, for training and test, as tt.fit makes from arrays.

    A named tuple as Dataset is, and its four arrays have the same names. A network gets float rows
    as float32, uint8 images from 0 to 1, and rows of other dtypes unchanged.

    Args:
        train_images: (N, ...) of any dtype, or a memory map.
        train_labels: integers (N,) from 0 up, which are labels; or floats (N,) or (N, T), which are
            targets. They become int64 or float32, and targets (N,) become (N, 1).
        test_images: (M, ...).
        test_labels: as train_labels, (M,) or (M, T).
        names: the name of each class, as in Dataset; empty for targets.

    Raises:
        ShapeError, LabelError, SettingError: as in Dataset.
        DTypeError: the labels are neither integers nor floats.
    """

    def __new__(
        cls,
        train_images: Array,
        train_labels: Array,
        test_images: Array,
        test_labels: Array,
        names: Sequence[str] | None = None,
    ) -> Examples:
        """Return the Examples, after a check of the arrays."""
        arrays = [
            *_checked_part("training", train_images, train_labels),
            *_checked_part("test", test_images, test_labels),
        ]
        same_shape(*arrays[::2])
        same_shape(*arrays[1::2])
        examples = cls._unchecked(arrays)
        examples.names = ()
        if examples.has_labels:
            examples.names = names_up_to(*arrays[1::2]) if not names else tuple(names)
            check_names(examples.names, *arrays[1::2])
        return examples

    @property
    def has_images(self) -> bool:
        """False: pages and pictures can't show the examples."""
        return False

    @property
    def image_shape(self) -> tuple[int, ...]:  # type: ignore[override]
        """The shape of an example."""
        return self.train_images.shape[1:]


def _checked_part(part: str, rows: Array, labels: Array) -> tuple[Array, Array]:
    """Rows, and int64 labels or float32 targets, of one part, after all checks."""
    rows, labels = as_array("Examples", rows), as_array("Examples", labels)
    if rows.ndim < 2:
        raise ShapeError(
            f"fit: got {part} examples of shape {rows.shape}; (N, ...) is needed, one row for each "
            "example: x.reshape(-1, 1) for one number per example"
        )
    if labels.dtype.kind != "f":
        return rows, checked_labels(part, rows, labels)
    if labels.ndim not in (1, 2):
        raise ShapeError(
            f"fit: got {part} targets of shape {labels.shape}; (N,) or (N, T) is needed, with T "
            "targets for each example"
        )
    one_label_each("fit", part, rows, labels)
    if not np.isfinite(labels).all():
        raise DTypeError(f"fit: got {part} targets with NaN or infinity; finite ones are needed")
    too_large = np.abs(labels) > np.finfo(np.float32).max
    if too_large.any():
        row = int(np.argwhere(too_large)[0, 0])
        raise DTypeError(
            f"fit: got {labels[too_large][0]:g} in the {part} targets, first in row {row}; values "
            "in the range of float32, up to 3.4e38, are needed; divide the targets by a constant"
        )
    return rows, labels.reshape(len(labels), -1).astype(np.float32)
