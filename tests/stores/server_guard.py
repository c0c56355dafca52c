"""Ends test servers and removes their folders once the test process is gone, however it went: SIGKILL included.

Run as a script. Its standard input is a pipe that only the test process holds open; each line is "start <pid> <signal>",
"end <pid>", "folder <path>" or "removed <path>". At the end of input whatever was not ended is.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

PATIENCE_S = 3


def end(pid: int, number: int) -> None:
    """Wake and signal a server, and kill what is left of it and its children."""
    try:
        server = psutil.Process(pid)
        family = [server, *server.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in family:
        _send(process, signal.SIGCONT)
    _send(server, number)
    for process in wait_for(family, PATIENCE_S):
        _send(process, signal.SIGKILL)


def wait_for(family: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait until processes have ended and return those that haven't; one that init hasn't reaped yet has ended."""
    deadline = time.monotonic() + timeout_s
    while family := [process for process in family if _alive(process)]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.005)
    return family


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _send(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def remove(folder: Path) -> None:
    """Remove a folder, and a disk of its own under it."""
    for disk in [folder, *folder.glob("*")]:
        if disk.is_mount():
            subprocess.run(["umount", "--lazy", str(disk)], check=True)
    shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Remember what is told until the pipe closes, then clean up."""
    servers: dict[int, int] = {}
    folders: list[Path] = []
    for line in sys.stdin:
        verb, what, *more = line.rstrip("\n").split("\t")
        if verb == "start":
            servers[int(what)] = int(more[0])
        elif verb == "end":
            servers.pop(int(what), None)
        elif verb == "folder":
            folders.append(Path(what))
        elif verb == "removed":
            folders.remove(Path(what))
    for pid, number in servers.items():
        end(pid, number)
    for folder in folders:
        remove(folder)


if __name__ == "__main__":
    main()
