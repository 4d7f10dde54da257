"""Write a file so that it always has its old or its new content, complete, whatever happens.

`write` writes the content to a temporary file in the same folder, waits until the disk has stored
it, and renames the file. An error, a full disk or the end of the process at any moment leaves the
old file unchanged, or the new one complete. The steps are these system calls:

    open(.name.1f2e3d4c.part), flock    a new file, locked while this process lives
    write, fchmod, fsync                the disk stores the content and the permissions
    rename(.name.1f2e3d4c.part, name)   the new file replaces the old one, in one operation
    fsync(folder)                       the disk stores the new name

A process that was killed leaves its temporary file behind. The next `write` of the same file
removes it, because its lock is free. Windows has no fcntl module and so no such locks. Without them
leftovers stay, because a temporary file may be in use.
"""

import errno
import os
import secrets
import stat
from contextlib import suppress
from functools import partial
from typing import BinaryIO, TypeAlias

try:
    import fcntl
except ImportError:
    CAN_LOCK = False
else:
    CAN_LOCK = True

Name: TypeAlias = str | os.PathLike[str]


def write(file: Name, content: bytes) -> None:
    """Replace a file, or create it.

    A symbolic link is followed. The permissions stay, and the owner too if the system allows it; a
    new file gets those of `open`. A hard link keeps the old content. A pipe or a device can't be
    replaced, so the content is written into it.

    Args:
        file: the path of the file.
        content: its new bytes.

    Raises:
        OSError: the file can't be written: its folder is missing or read-only, the file is
            read-only, the disk is full. The old file is unchanged. Only if the last fsync fails,
            that of the folder, it has been replaced.
    """
    replace(file, content).close()


def replace(file: Name, content: bytes) -> BinaryIO:
    """Replace a file as `write` does, and return the new file, open to append to it.

    `write_all` appends, and `sync` waits until the disk has stored it.

    Args:
        file: the path of the file.
        content: the bytes that it starts with.

    Returns:
        The new file.

    Raises:
        OSError: as in `write`.
    """
    old = _status(file)
    if old is not None and not stat.S_ISREG(old.st_mode):
        special: BinaryIO = open(file, "wb", buffering=0)  # noqa: SIM115 - the caller closes it
        write_all(special, content)
        return special
    folder, name = _place(file)
    _remove_leftovers(folder, name)
    opened, part = _open_part(folder, name, old)
    try:
        write_all(opened, content)
        _keep_owner_and_permissions(opened.fileno(), old)
        os.fsync(opened.fileno())
        os.rename(part, os.path.join(folder, name))
        _sync_folder(folder)
    except BaseException:  # Ctrl-C too
        _discard(opened, part)
        raise
    return opened


def write_all(opened: BinaryIO, content: bytes) -> None:
    """Append to a file that `replace` returned; one system call may write less than all.

    Raises:
        OSError: the disk is full, or failed.
    """
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(opened.fileno(), rest) :]


def check(file: Name) -> None:
    """Raise the OSError that `write` would raise at once, before any work is done.

    Args:
        file: the path of the file. It is not changed.

    Raises:
        OSError: the folder is missing or read-only, or the file is read-only or a folder.
    """
    old = _status(file)
    if old is not None and not stat.S_ISREG(old.st_mode):
        return  # not opened, because closing a pipe would end its reader
    _discard(*_open_part(*_place(file), old))


def sync(opened: BinaryIO) -> None:
    """Wait until the disk has stored what was written to a file that `replace` returned.

    Raises:
        OSError: the disk is full, or failed.
    """
    try:
        os.fsync(opened.fileno())
    except OSError as error:
        if error.errno != errno.EINVAL:  # a pipe or a device has nothing to store
            raise


def _status(file: Name) -> os.stat_result | None:
    """The status of an existing file, or None.  Raises OSError if it can't be written to."""
    try:
        status = os.stat(file)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(file))
    if not os.access(file, os.W_OK):  # a rename would replace a read-only file
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(file))
    return status


def _place(file: Name) -> tuple[str, str]:
    """The folder and the name of a file, behind symbolic links."""
    return os.path.split(os.path.realpath(file))


# Temporary files --------------------------------------------------------------------------------

_LONGEST = 200  # bytes of the name in that of its temporary file: 255 are the most


def _part_prefix(name: str) -> str:
    return f".{os.fsdecode(os.fsencode(name)[:_LONGEST])}."


def _open_part(folder: str, name: str, old: os.stat_result | None) -> tuple[BinaryIO, str]:
    """Create a temporary file, and lock it."""
    mode = 0o666 if old is None else stat.S_IMODE(old.st_mode) & 0o666
    while True:
        part = os.path.join(folder, f"{_part_prefix(name)}{secrets.token_hex(4)}.part")
        try:
            opened = open(part, "xb", buffering=0, opener=partial(_open_with, mode))  # noqa: SIM115
        except FileExistsError:
            continue
        try:
            if CAN_LOCK:
                with suppress(OSError):  # without locks in the file system, leftovers stay
                    fcntl.flock(opened, fcntl.LOCK_EX)
            if os.fstat(opened.fileno()).st_nlink:
                return opened, part
        except BaseException:
            _discard(opened, part)
            raise
        opened.close()  # another process removed the file before it was locked


def _open_with(mode: int, path: str, flags: int) -> int:
    return os.open(path, flags | os.O_APPEND, mode)


def _discard(opened: BinaryIO, part: str) -> None:
    """Close and remove a temporary file; after the rename, there is none."""
    with suppress(OSError):
        os.unlink(part)
    opened.close()


def _remove_leftovers(folder: str, name: str) -> None:
    """Remove the temporary files of this file whose process has ended."""
    if not CAN_LOCK:
        return
    prefix = _part_prefix(name)
    with suppress(OSError):  # a folder that can't be listed
        for other in os.listdir(folder):
            middle = other[len(prefix) : -len(".part")]
            if other == f"{prefix}{middle}.part" and len(middle) == 8:
                _remove_if_free(os.path.join(folder, other))


def _remove_if_free(part: str) -> None:
    """Remove a temporary file if no process has locked it."""
    with suppress(OSError):  # it is locked, or of another user, or gone
        descriptor = os.open(part, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(part)
        finally:
            os.close(descriptor)


def _keep_owner_and_permissions(descriptor: int, old: os.stat_result | None) -> None:
    if old is None:
        return
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid):
        with suppress(PermissionError):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    os.fchmod(descriptor, stat.S_IMODE(old.st_mode))


def _sync_folder(folder: str) -> None:
    """Wait until the disk has stored the names in a folder, if the file system can do that."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:  # a folder that can be written but not read
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some file systems can't
            raise
    finally:
        os.close(descriptor)
