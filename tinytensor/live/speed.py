"""The training speed between two reports, and the default speed of a watched training."""

from tinytensor.step_report import StepReport
from tinytensor.train import Training

WATCHED_SECONDS = 25  # of all steps, if the machine is fast enough
MIN_STEPS_PER_SECOND = 10


def watchable(training: Training) -> float:
    """Steps per second at which a viewer can follow the training.

    All its steps take WATCHED_SECONDS, or less if there are few.
    """
    steps = training.steps - training.step
    return float(max(MIN_STEPS_PER_SECOND, round(steps / WATCHED_SECONDS)))


class Speed:
    """Measures images per second of training, without tests and without the first step.

    The first step is left out because it may compile kernels. Make a Speed before the training
    starts, and call it with each report.
    """

    def __init__(self, training: Training) -> None:
        self._batch = training.batch
        self._step = training.step + 1  # the first step is not counted
        self._seconds = 0.0

    def __call__(self, report: StepReport) -> float:
        """Images per second since the last report; 0 after the first step alone."""
        steps, seconds = report.step - self._step, report.seconds.train - self._seconds
        self._step, self._seconds = report.step, report.seconds.train
        return self._batch * steps / seconds if steps > 0 and seconds > 0 else 0.0
