"""Files that are always complete: faults and kills at every system call, links, permissions."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import tinytensor as tt
from tinytensor import atomic_file, checkpoint

OLD, NEW = b"old" * 1000, b"new" * 2000
CALLS = ("stat", "access", "listdir", "open", "fstat", "write", "fchmod", "fsync", "rename")


class Counter:
    """Counts the system calls of atomic_file, and calls `act` before or after the n-th.

    os.write writes at most 700 bytes, so that a file needs several calls.
    """

    def __init__(self, monkeypatch, n, act, after=False):
        self.n, self.act, self.after, self.made = n, act, after, []
        for name in CALLS:
            monkeypatch.setattr(os, name, self.counted(name, getattr(os, name)))

    def counted(self, name, call):
        def counted(*arguments):
            self.made.append(name)
            is_chosen = len(self.made) == self.n
            if is_chosen and not self.after:
                self.act()
            if name == "write":
                arguments = (arguments[0], arguments[1][:700])
            result = call(*arguments)
            if is_chosen and self.after:
                self.act()
            return result

        return counted


@contextmanager
def counting(n, act, after=False):
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Counter(monkeypatch, n, act, after)


def content_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("old", [OLD, None], ids=["replaced", "created"])
def test_a_fault_at_any_call_leaves_the_old_or_the_new_file(tmp_path, number, old):
    def fail():
        raise OSError(number, os.strerror(number))

    failed = []
    for n in range(1, 100):
        folder = tmp_path / str(n)
        folder.mkdir()
        if old is not None:
            (folder / "file").write_bytes(old)
        before = content_of(folder)
        with counting(n, fail) as counter:
            try:
                atomic_file.write(folder / "file", NEW)
                raised = None
            except OSError as error:
                raised = error.errno
        if len(counter.made) < n:
            assert raised is None
            break
        failed.append(counter.made[n - 1])
        renamed = "rename" in counter.made[: n - 1]
        wanted = {"file": NEW} if renamed or raised is None else before
        assert content_of(folder) == wanted, f"{n}: a fault of {failed[-1]}"
        # Old temporary files that can't be listed are no reason to fail.
        assert raised == (None if failed[-1] == "listdir" else number)
    assert content_of(folder) == {"file": NEW}
    assert {"write", "fsync", "rename", "open"} <= set(failed)
    assert failed.count("write") == -(-len(NEW) // 700)
    assert failed.count("fsync") == 2, "of the file and of the folder"


def in_child(function):
    """Run a function in a forked process; return the signal that ended it, or 0."""
    if (pid := os.fork()) == 0:
        try:
            function()
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_any_call_leaves_the_old_or_the_new_file(tmp_path, after):
    file = tmp_path / "file"
    file.write_bytes(OLD)
    leftovers = 0

    def kill():
        os.kill(os.getpid(), signal.SIGKILL)

    for n in range(1, 100):

        def write(n=n):
            with counting(n, kill, after):
                atomic_file.write(file, NEW)

        killed = in_child(write)
        content = content_of(tmp_path)
        if not killed:
            assert content == {"file": NEW}
            break
        assert content.pop("file") in (OLD, NEW)
        leftovers += len(content)
        atomic_file.write(file, OLD)
        assert content_of(tmp_path) == {"file": OLD}, "the next write removes the temporary file"
    assert leftovers > len(NEW) // 700


def test_an_interrupt_leaves_no_temporary_file(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    (tmp_path / "file").write_bytes(OLD)
    with counting(9, interrupt) as counter, pytest.raises(KeyboardInterrupt):
        atomic_file.write(tmp_path / "file", NEW)
    assert counter.made[-1] == "write"
    assert content_of(tmp_path) == {"file": OLD}


def test_a_temporary_file_in_use_is_not_removed(tmp_path):
    """While a process writes, others write the same file; the last rename wins."""
    file = tmp_path / "file"
    seen = []

    def write_meanwhile():
        os.waitpid(os.fork() or write_in_child(), 0)
        seen.append(sorted(content_of(tmp_path)))

    def write_in_child():
        counter.n = -1
        atomic_file.write(file, OLD)
        os._exit(0)

    with counting(10, write_meanwhile) as counter:
        atomic_file.write(file, NEW)
    assert [len(names) for names in seen] == [2], "the file, and this process's temporary file"
    assert content_of(tmp_path) == {"file": NEW}


def test_a_temporary_file_that_was_removed_before_its_lock_is_created_again(tmp_path):
    def remove():
        for path in tmp_path.iterdir():
            path.unlink()

    with counting(4, remove) as counter:
        atomic_file.write(tmp_path / "file", NEW)
    assert counter.made.count("fstat") == 2
    assert content_of(tmp_path) == {"file": NEW}


def test_files_of_others_are_not_removed(tmp_path):
    names = (".file.part", ".file.1234567.part", ".files.12345678.part", "file.12345678.part")
    for name in names:
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / ".file.12345678.part").mkdir()
    (tmp_path / ".file.00000000.part").write_bytes(b"of a process that was killed")
    atomic_file.write(tmp_path / "file", NEW)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*names, ".file.12345678.part", "file"}


def test_permissions_are_kept(tmp_path):
    file = tmp_path / "file"
    before = os.umask(0o027)
    try:
        atomic_file.write(file, OLD)
        assert stat.S_IMODE(file.stat().st_mode) == 0o640, "as open does"
        for mode in (0o600, 0o666, 0o644, 0o755):
            file.chmod(mode)
            atomic_file.write(file, NEW)
            assert stat.S_IMODE(file.stat().st_mode) == mode
    finally:
        os.umask(before)


def test_a_private_file_is_never_readable_by_others(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(OLD)
    file.chmod(0o600)
    modes = set()
    for n in range(1, 30):

        def note():
            modes.update(stat.S_IMODE(os.lstat(path).st_mode) for path in tmp_path.iterdir())

        with counting(n, note):
            atomic_file.write(file, NEW)
    assert modes == {0o600}


@pytest.mark.skipif(os.getuid() != 0, reason="only root may change the owner")
def test_the_owner_is_kept(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(OLD)
    os.chown(file, 1234, 4321)
    atomic_file.write(file, NEW)
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 4321)


def test_symbolic_links_are_followed(tmp_path):
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    (here / "link").symlink_to(Path("..", "there", "second"))
    (there / "second").symlink_to("file")
    for content in (OLD, NEW):  # the first write creates the file
        atomic_file.write(here / "link", content)
        assert {path.name for path in here.iterdir()} == {"link"}
        assert (here / "link").is_symlink()
        assert (there / "second").is_symlink()
        assert content_of(there) == {"file": content, "second": content}
    (here / "circle").symlink_to("circle")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        atomic_file.write(here / "circle", NEW)
    assert (here / "circle").is_symlink()


def test_hard_links_keep_the_old_content(tmp_path):
    (tmp_path / "file").write_bytes(OLD)
    os.link(tmp_path / "file", tmp_path / "other")
    atomic_file.write(tmp_path / "file", NEW)
    assert content_of(tmp_path) == {"file": NEW, "other": OLD}


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 127, "a b'\n.part", ".hidden", "x.part"])
def test_names_of_all_lengths(tmp_path, name):
    atomic_file.check(tmp_path / name)
    assert not list(tmp_path.iterdir())
    for content in (OLD, NEW, b""):
        atomic_file.write(tmp_path / name, content)
        assert content_of(tmp_path) == {name: content}


def test_names_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    atomic_file.write("file", NEW)
    assert content_of(tmp_path) == {"file": NEW}


def test_what_can_not_be_written_is_found_by_check(tmp_path):
    (tmp_path / "file").write_bytes(OLD)
    for name, words in (
        (".", "Is a directory"),
        ("no/file", "No such file or directory"),
        ("file/file", "Not a directory"),
        ("n" * 256, "File name too long"),
    ):
        for function in (atomic_file.check, lambda file: atomic_file.write(file, NEW)):
            with pytest.raises(OSError, match=words):
                function(tmp_path / name)
    assert content_of(tmp_path) == {"file": OLD}


@pytest.mark.parametrize("mode", [0o444, 0o644], ids=["file", "folder"])
def test_read_only_files_and_folders(tmp_path, mode):
    """Run by an unprivileged user, because root may write everywhere."""
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "file").chmod(mode)
    tmp_path.chmod(0o777 if mode == 0o444 else 0o555)
    program = (
        "import os, sys\n"
        "from tinytensor import atomic_file\n"
        "file = sys.argv[1]\n"
        "os.chdir(os.path.dirname(file))\n"  # because its parent folders may be private
        "if not os.getuid():\n"
        "    os.setuid(65534)\n"
        "for function in (atomic_file.check, lambda file: atomic_file.write(file, b'new')):\n"
        "    try:\n"
        "        function('file')\n"
        "    except PermissionError as error:\n"
        "        print(error.strerror)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "file")],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    tmp_path.chmod(0o777)
    assert (done.stdout, done.stderr) == (2 * "Permission denied\n", "")
    assert content_of(tmp_path) == {"file": OLD}


def test_pipes_and_devices_are_written_to(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    atomic_file.check(pipe)
    with atomic_file.replace(pipe, b"1") as opened:
        opened.write(b"2")
        atomic_file.sync(opened)
    assert os.read(reading, 10) == b"12"
    os.close(reading)
    assert pipe.is_fifo()
    atomic_file.write("/dev/null", NEW)
    with pytest.raises(OSError, match="No space left"):
        atomic_file.write("/dev/full", NEW)


def test_a_replaced_file_can_be_appended_to(tmp_path):
    (tmp_path / "file").write_bytes(OLD)
    with atomic_file.replace(tmp_path / "file", NEW) as opened:
        assert content_of(tmp_path) == {"file": NEW}
        opened.write(b"more")
        atomic_file.sync(opened)
        assert content_of(tmp_path) == {"file": NEW + b"more"}


def test_a_limit_of_the_system_leaves_the_old_file(tmp_path):
    """RLIMIT_FSIZE makes the system refuse writes, as a quota or a full disk does."""
    (tmp_path / "file").write_bytes(OLD)

    def write():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
        with pytest.raises(OSError, match="File too large"):
            atomic_file.write(tmp_path / "file", NEW)
        os.kill(os.getpid(), signal.SIGKILL)  # so that the parent sees that it arrived here

    assert in_child(write) == signal.SIGKILL
    assert content_of(tmp_path) == {"file": OLD}


@pytest.mark.parametrize(
    "kills", [30, pytest.param(1000, marks=[pytest.mark.full, pytest.mark.slow])]
)
def test_kills_at_random_times(tmp_path, kills):
    """A process saves checkpoints until it is killed; the file is complete after each kill.

    The number in the metadata is that of all elements, so a mixture of two checkpoints is found.
    """
    file = tmp_path / "file"
    rng = np.random.default_rng(0)
    whole, in_the_middle, last = 0, 0, 0

    def save_repeatedly():
        for i in range(last + 1, 2**31):
            checkpoint.save(file, {"x": tt.full((100, 100), i, "int64")}, {"i": str(i)})

    for kill in range(kills):
        if (pid := os.fork()) == 0:
            try:
                save_repeatedly()
            finally:
                os._exit(1)
        while kill == 0 and not file.exists():
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        os.kill(pid, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
        in_the_middle += any(path.suffix == ".part" for path in tmp_path.iterdir())
        if file.exists() or last:
            tensors, about = checkpoint.read(file)
            assert int(about["i"]) >= last
            last = int(about["i"])
            assert (tensors["x"].numpy() == last).all()
        whole += 1
    assert last
    assert len(list(tmp_path.iterdir())) <= 2, "each save removes the temporary files before it"
    print(f"{whole:,} of {kills:,} kills: a complete file; {in_the_middle:,} during a save")
