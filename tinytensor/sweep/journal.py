"""The journal of a sweep: a file with all trials, which several processes share.

Optuna's journal storage appends each change of a trial to the file. It has no heartbeat, so it
can't find a trial whose process was killed. Here each process locks a byte of a second file,
FILE.locks:

    byte 0        while it appends to the journal
    byte 1        while it chooses a trial
    byte 2 + n    while it trains trial n

The system releases the locks of a process that ends, also after kill -9. So a trial that the
journal calls running, and whose byte is free, was given up. No clock and no time limit is involved.
The file system must have POSIX locks, as local disks and NFS 4 have.
"""

import errno
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from tinytensor import json_text
from tinytensor.errors import DataError, SettingError

if TYPE_CHECKING:
    import optuna

APPENDING, CHOOSING, FIRST_TRIAL = 0, 1, 2  # bytes of the file of locks
_STUDY = "tinytensor sweep"  # its name in the journal
_in_use: set[str] = set()  # locks exclude other processes only


class Journal:
    """The file of a sweep, and its locks.

    Args:
        file: the name of the file; a new file is created.
        about: the settings that all processes of the sweep share, by name.

    Attributes:
        study: the Optuna study in the file.

    Raises:
        DataError: the file can't be written, is not the journal of a sweep, or is of a sweep with
            other settings.
        SettingError: this process uses the file already.
    """

    def __init__(self, file: Path, about: Mapping[str, object]) -> None:
        self.file, self._path = file, os.path.realpath(file)
        if self._path in _in_use:
            raise SettingError(
                f"storage: {file} is in use by a sweep of this process; end it first"
            )
        with self._errors():
            _check_is_journal(file)
            self._locks = open(f"{self._path}.locks", "ab")  # noqa: SIM115 - close() closes it
        _in_use.add(self._path)
        try:
            with self._errors(), self.locked(CHOOSING):
                self.study = self._open_study(about)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file, which releases all locks."""
        self._locks.close()
        _in_use.discard(self._path)

    @contextmanager
    def locked(self, byte: int) -> Iterator[None]:
        """Lock a byte inside a `with` block; wait if another process has locked it."""
        fcntl.lockf(self._locks, fcntl.LOCK_EX, 1, byte)
        try:
            yield
        finally:
            self.unlock(byte)

    def lock_if_free(self, byte: int) -> bool:
        """Lock a byte; False if another process has locked it."""
        try:
            fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            return False
        return True

    def unlock(self, byte: int) -> None:
        """Release the lock of a byte."""
        fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, byte)

    # Optuna calls these two before and after it appends. Its own locks stay after kill -9.

    def acquire(self) -> bool:
        """Lock the journal, and remove half a line that a killed process or a full disk left."""
        fcntl.lockf(self._locks, fcntl.LOCK_EX, 1, APPENDING)
        with open(self._path, "rb+") as opened:
            if opened.seek(0, os.SEEK_END):
                opened.seek(-1, os.SEEK_END)
                if opened.read() != b"\n":
                    opened.seek(0)
                    opened.truncate(opened.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Unlock the journal."""
        self.unlock(APPENDING)

    def _open_study(self, about: Mapping[str, object]) -> "optuna.Study":
        import optuna
        from optuna.storages.journal import JournalFileBackend, JournalStorage

        try:
            storage = JournalStorage(JournalFileBackend(self._path, cast(Any, self)))
            names = optuna.get_all_study_names(storage)
        except (LookupError, ValueError, TypeError) as error:
            raise DataError(f"{self.file}: the journal is damaged ({error})") from None
        if names not in ([], [_STUDY]):
            raise DataError(
                f"{self.file}: is a journal of another Optuna study, {names[0]!r}; a new file, or "
                "one that tinytensor sweep wrote, is needed"
            )
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        try:
            study = optuna.create_study(
                storage=storage, study_name=_STUDY, direction="maximize", load_if_exists=True
            )
        finally:
            optuna.logging.set_verbosity(verbosity)
        before = study.user_attrs.get("about")
        if before is None:  # a new study
            study.set_user_attr("about", dict(about))
        else:
            self._compare(before, json.loads(json.dumps(about)))
        return study

    def _compare(self, its: Mapping[str, object], own: Mapping[str, object]) -> None:
        for name in {**its, **own}:
            if its.get(name) != own.get(name):
                raise DataError(
                    f"{self.file}: is of a sweep with {name} {its.get(name)}; got "
                    f"{own.get(name)}; the same settings or another file are needed"
                )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise DataError for an OSError."""
        try:
            yield
        except OSError as error:
            raise DataError(f"{self.file}: can't be used: {error.strerror}") from None


def _check_is_journal(file: Path) -> None:
    """Raise DataError if the file has another format, before anything is written to it."""
    try:
        with open(file, "rb") as opened:
            line = opened.readline(1 << 16)
    except FileNotFoundError:
        return
    entry = None
    with suppress(ValueError):
        entry = json_text.parsed(line)
    if line and not (isinstance(entry, dict) and "op_code" in entry):
        raise DataError(
            f"{file}: is not the journal of a sweep; a new file, or one that tinytensor sweep "
            "wrote, is needed"
        )
