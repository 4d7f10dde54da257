"""Tries settings of a lesson, and measures each on validation images.

    sweeping.py    Sweep and sweep(): chooses settings with Optuna, trains, returns the trials
    journal.py     the file with all trials, which several processes share, and its locks
    scatter.py     the accuracy by each setting, as an image or a page

`import tinytensor.sweep` doesn't import Optuna. A sweep does.
"""

from tinytensor.sweep.sweeping import Sweep, Trial, sweep

__all__ = ["Sweep", "Trial", "sweep"]
