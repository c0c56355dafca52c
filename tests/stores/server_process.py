"""One server process of a test: started, stopped, killed, paused, and nothing left behind."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Self

import psutil
from stores.server_guard import remove, wait_for

START_TIMEOUT_S = 30
STOP_TIMEOUT_S = 10
UNPRIVILEGED = "nobody"
"""Whom servers run as when the tests run as root."""


class ServerFailed(RuntimeError):
    """A test server didn't start; the text ends with its log."""


class Guard:
    """The script that cleans up behind this process; one for all servers, started with the first."""

    _only: Guard | None = None

    def __init__(self) -> None:
        self.owner = os.getpid()
        script = Path(__file__).with_name("server_guard.py")
        self._script = subprocess.Popen(
            [sys.executable, "-E", str(script)], stdin=subprocess.PIPE, text=True, start_new_session=True, bufsize=1
        )
        atexit.register(self._end)

    @classmethod
    def tell(cls, *words: object) -> None:
        """Send it a line."""
        if cls._only is None or cls._only.owner != os.getpid():
            cls._only = Guard()
        assert cls._only._script.stdin is not None
        cls._only._script.stdin.write("\t".join(map(str, words)) + "\n")

    def _end(self) -> None:
        """Let it clean up now; a forked child has inherited the call but not the duty."""
        if os.getpid() == self.owner:
            self._script.communicate(timeout=STOP_TIMEOUT_S + 5)


def free_port() -> int:
    """Find a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server on a port and a Unix socket, in a temporary folder.

    Parameters
    ----------
    options : sequence of str
        Lines of its configuration file, after those of the tests.
    disk_mb : int, optional
        Give it a disk of its own of this size, for `fill_disk`. Needs root.

    Attributes
    ----------
    environment : dict of str to str
        What it is started with beyond the environment of this process.
    """

    kind = ""
    stop_signal = signal.SIGTERM
    quit_signal = signal.SIGTERM

    def __init__(self, *, options: tuple[str, ...] = (), disk_mb: int | None = None) -> None:
        self.host = "127.0.0.1"
        self.port = free_port()
        self.options = options
        self.environment: dict[str, str] = {}
        self.user = UNPRIVILEGED if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix=f"pyengine-{self.kind}-"))
        Guard.tell("folder", self.folder)
        self.home = self.folder / "home"
        self.home.mkdir()
        if disk_mb is not None:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={disk_mb}m", "tmpfs", str(self.home)], check=True)
        self.log = self.folder / "log"
        self.log.touch()
        if self.user is not None:
            for place in (self.folder, self.home, self.log):
                shutil.chown(place, self.user)
        self.process: subprocess.Popen[bytes] | None = None

    def command_line(self) -> list[str | Path]:
        """Return what starts the server in the foreground."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it serves."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether there is a process, paused or not."""
        return self.process is not None and self.process.poll() is None

    def start(self, *, wait: bool = True) -> Self:
        """Start it, again on the same data, port and socket if it ran before; wait until it serves unless told not to."""
        assert not self.running, f"{self.kind} is already running"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command_line(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.home,
                env={**os.environ, **self.environment},
                user=self.user,
                extra_groups=None if self.user is None else [],
                start_new_session=True,
            )
        Guard.tell("start", self.process.pid, int(self.quit_signal))
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        """Wait until it serves."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if not self.running or time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(f"{self.kind} at port {self.port} didn't start; its log:\n{self.log_text()[-4000:]}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Shut it down in good order, waking it if it is paused; its data stay for `start`."""
        if not self.running:
            self._ended()
            return
        assert self.process is not None
        self.resume()
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        self._ended()

    def kill(self) -> None:
        """End it and its children by SIGKILL, as a power cut would; its data stay for `start`."""
        family = self._family()
        for process in family:
            _signal(process, signal.SIGKILL)
        if self.process is not None:
            self.process.wait(STOP_TIMEOUT_S)
        assert not wait_for(family, STOP_TIMEOUT_S), f"{self.kind} didn't end on SIGKILL"
        self._ended()

    def pause(self) -> None:
        """Stop it and its children by SIGSTOP: connections stay, and nobody answers."""
        for process in self._family():
            _signal(process, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `pause`."""
        for process in self._family():
            _signal(process, signal.SIGCONT)

    def fill_disk(self) -> None:
        """Take all room on its own disk away."""
        assert self.home.is_mount(), "fill_disk needs a server with disk_mb"
        usage = shutil.disk_usage(self.home)
        with (self.home / "ballast").open("wb", buffering=0) as ballast:
            os.posix_fallocate(ballast.fileno(), 0, usage.free)

    def free_disk(self) -> None:
        """Give back what `fill_disk` took."""
        (self.home / "ballast").unlink()

    def close(self) -> None:
        """Stop it and remove its folder."""
        if not self.folder.exists():
            return
        self.stop()
        remove(self.folder)
        Guard.tell("removed", self.folder)

    def log_text(self) -> str:
        """Return what it has logged."""
        return self.log.read_text(errors="replace")

    def _family(self) -> list[psutil.Process]:
        """List the server and its children, the server first so that it can't make more of them."""
        if not self.running:
            return []
        assert self.process is not None
        server = psutil.Process(self.process.pid)
        return [server, *server.children(recursive=True)]

    def _ended(self) -> None:
        if self.process is not None:
            Guard.tell("end", self.process.pid)
            self.process = None


def _signal(process: psutil.Process, number: int) -> None:
    """Send a signal; a child that ended meanwhile needs none."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return
