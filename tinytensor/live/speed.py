"""How fast a training is, between one report and the next."""

from tinytensor.train import StepReport, Training


class Speed:
    """Images per second of training alone; the first step, which may compile, and tests left out.

    Made before the training begins, and then called with each report.
    """

    def __init__(self, training: Training) -> None:
        self._batch = training.batch
        self._step = training.step + 1  # whose time is kept apart
        self._seconds = 0.0

    def __call__(self, report: StepReport) -> float:
        """Images per second since the report before; 0 if only the first step was made."""
        steps, seconds = report.step - self._step, report.seconds.train - self._seconds
        self._step, self._seconds = report.step, report.seconds.train
        return self._batch * steps / seconds if steps > 0 and seconds > 0 else 0.0
