"""Networks as estimators of scikit-learn: tt.sklearn.Classifier and tt.sklearn.Regressor.

estimators.py has both. It is imported when one of them is used, because scikit-learn takes a second
to import and need not be installed.
"""

from typing import TYPE_CHECKING, Any

from tinytensor.extras import check_installed

if TYPE_CHECKING:
    from tinytensor.sklearn.estimators import Classifier, EpochReport, Regressor

__all__ = ["Classifier", "EpochReport", "Regressor"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"tt.sklearn has no {name!r}; it has {', '.join(__all__)}")
    check_installed("tt.sklearn", "sklearn", "sklearn")
    from tinytensor.sklearn import estimators

    return getattr(estimators, name)


def __dir__() -> list[str]:
    return __all__
