"""A recorded run as a film, and one moment of it as an image; matplotlib draws them."""

from __future__ import annotations

import io
from pathlib import Path
from subprocess import CalledProcessError

from PIL import Image

from tinytensor.errors import DataError, SettingError
from tinytensor.live.drawing import Picture
from tinytensor.live.history import History
from tinytensor.live.run_file import RecordedRun

FRAMES_A_SECOND = 8
COLOURS = 128  # of an image: all that it has, nearly, and a third of the bytes
LAST_FRAME = 2  # seconds for which it is seen


def write_movie(file: str | Path, recording: RecordedRun, dark: bool = False) -> None:
    """Write the run, a frame for each snapshot, as .gif, or as .mp4 where there is ffmpeg.

    Raises SettingError for another kind of file, and where ffmpeg is missing; DataError where it
    fails; OSError.
    """
    from matplotlib.animation import FFMpegWriter, PillowWriter

    kind = Path(file).suffix.lower()
    if kind not in (".gif", ".mp4"):
        raise SettingError(f"movie: got {file}; a name that ends with .mp4 or .gif is needed")
    if kind == ".mp4" and not FFMpegWriter.isAvailable():
        raise SettingError(
            f"movie: {file} needs the program ffmpeg, and there is none in PATH; install it, or "
            f"write {Path(file).with_suffix('.gif')}, which doesn't"
        )
    writer = (PillowWriter if kind == ".gif" else FFMpegWriter)(fps=FRAMES_A_SECOND)
    picture, shown = _picture(recording, dark), History()
    picture.fit(History(recording.snapshots))
    colours = {"facecolor": picture.figure.get_facecolor()}
    try:
        with writer.saving(picture.figure, str(file), dpi=picture.figure.dpi):
            for snapshot in recording.snapshots:
                shown.add_snapshot(snapshot)
                picture.show(shown, snapshot)
                writer.grab_frame(**colours)
            for _ in range(LAST_FRAME * FRAMES_A_SECOND - 1):
                writer.grab_frame(**colours)
    except CalledProcessError as error:
        raise DataError(f"movie: {file}: ffmpeg ended with {error.returncode}") from None


def write_png(
    file: str | Path, recording: RecordedRun, step: int | None = None, dark: bool = False
) -> None:
    """Write the six panels as they were after so many steps, at the end where None.

    Raises SettingError where there is no snapshot so early; OSError.
    """
    count = len(recording.snapshots)
    if step is not None:
        count = sum(snapshot.step <= step for snapshot in recording.snapshots)
        if not count:
            first = recording.snapshots[0].step
            raise SettingError(f"step: got {step}; the first snapshot is of step {first}")
    snapshots = recording.snapshots[:count]
    history, picture = History(snapshots), _picture(recording, dark)
    picture.fit(history)
    picture.show(history, snapshots[-1])
    drawn = io.BytesIO()
    picture.figure.savefig(drawn, format="png")
    image = Image.open(drawn).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    image.save(file, "PNG", optimize=True)


def _picture(recording: RecordedRun, dark: bool) -> Picture:
    return Picture(recording.lesson, recording.steps, recording.test_count, dark)
