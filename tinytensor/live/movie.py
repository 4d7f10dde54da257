"""A recorded run as a movie, and one of its steps as an image, drawn by matplotlib."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CalledProcessError

from PIL import Image

from tinytensor import atomic_file
from tinytensor.errors import DataError, SettingError
from tinytensor.live.drawing import Picture
from tinytensor.live.history import History
from tinytensor.live.run_file import RecordedRun

FRAMES_PER_SECOND = 8
COLOURS = 128  # in an image: nearly all that it has, in a third of the bytes
LAST_FRAME_SECONDS = 2


def write_movie(
    file: str | Path,
    recording: RecordedRun,
    dark: bool = False,
    show: Callable[[str], object] = lambda frame: None,
) -> None:
    """Write a run as a movie with one frame per snapshot.

    Args:
        file: a name that ends with .gif or .mp4; .mp4 needs the program ffmpeg.
        recording: the run, from run_file.load.
        dark: True for light colours on a dark background.
        show: called with the name of each frame before it is drawn, and before the file is written.

    Raises:
        SettingError: the name ends differently, or ffmpeg is not installed.
        DataError: ffmpeg fails.
        OSError: the file can't be written.
    """
    from matplotlib.animation import FFMpegWriter, PillowWriter

    kind = Path(file).suffix.lower()
    if kind not in (".gif", ".mp4"):
        raise SettingError(f"movie: got {file}; a file name that ends with .mp4 or .gif is needed")
    if kind == ".mp4" and not FFMpegWriter.isAvailable():
        raise SettingError(
            f"movie: {file} needs the program ffmpeg, which is not in PATH; install ffmpeg, or "
            f"write {Path(file).with_suffix('.gif')}, which doesn't need it"
        )
    writer = (PillowWriter if kind == ".gif" else FFMpegWriter)(fps=FRAMES_PER_SECOND)
    picture, shown = _picture(recording, dark), History()
    picture.fit(History(recording.snapshots))
    colours = {"facecolor": picture.figure.get_facecolor()}
    try:
        with tempfile.TemporaryDirectory() as folder:
            movie = Path(folder, f"movie{kind}")
            with writer.saving(picture.figure, str(movie), dpi=picture.figure.dpi):
                for number, snapshot in enumerate(recording.snapshots, 1):
                    show(f"{file}: frame {number} of {len(recording.snapshots)}")
                    shown.add_snapshot(snapshot)
                    picture.show(shown, snapshot)
                    writer.grab_frame(**colours)
                for _ in range(LAST_FRAME_SECONDS * FRAMES_PER_SECOND - 1):
                    writer.grab_frame(**colours)
                show(f"{file}: compressing the frames")
            atomic_file.write(file, movie.read_bytes())
    except CalledProcessError as error:
        raise DataError(
            f"movie: {file}: ffmpeg failed with exit status {error.returncode}"
        ) from None


def write_png(
    file: str | Path, recording: RecordedRun, step: int | None = None, dark: bool = False
) -> None:
    """Write the six panels as a PNG image.

    Args:
        file: the name of the file to write.
        recording: the run, from run_file.load.
        step: the panels show the last snapshot up to this step; by default the last of all.
        dark: True for light colours on a dark background.

    Raises:
        SettingError: there is no snapshot up to `step`.
        OSError: the file can't be written.
    """
    count = len(recording.snapshots)
    if step is not None:
        count = sum(snapshot.step <= step for snapshot in recording.snapshots)
        if not count:
            first = recording.snapshots[0].step
            raise SettingError(
                f"step: got {step}; {first}, the step of the first snapshot, or more is needed"
            )
    snapshots = recording.snapshots[:count]
    history, picture = History(snapshots), _picture(recording, dark)
    picture.fit(history)
    picture.show(history, snapshots[-1])
    drawn = io.BytesIO()
    picture.figure.savefig(drawn, format="png")
    image = Image.open(drawn).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    png = io.BytesIO()
    image.save(png, "PNG", optimize=True)
    atomic_file.write(file, png.getvalue())


def _picture(recording: RecordedRun, dark: bool) -> Picture:
    return Picture(recording.lesson, recording.steps, recording.test_count, dark, recording.names)
