"""Starts one server and ends it when its owner is gone; a script of its own that needs Python's library only.

A server must not outlive the process that started it, even after ``kill -9``. Linux could signal a process whose
parent died, but that signal comes when the parent's *thread* ends, and other systems have none. So this
script stands between the two: its standard input is a pipe whose other end only the owner holds.

Read from the pipe: ``T`` asks the server to stop, ``K`` kills it, and the end of the pipe kills it too.
Written to the standard output: the server's process id. The script ends when the server has ended, with its
exit code.
"""

import ctypes
import os
import select
import shutil
import signal
import sys
from typing import NoReturn

CHECK_OWNER_S = 0.5
PR_SET_PDEATHSIG = 1


def main(owner: int, remove: str, command: list[str]) -> int:
    """Run `command` until it ends or its owner is gone; in that case the folder `remove` goes, too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    watcher = os.getpid()
    server = os.fork()
    if server == 0:
        _become(command, watcher, libc)
    try:
        os.write(sys.stdout.fileno(), f"{server}\n".encode())
    except OSError:
        return _end(server, remove)
    orders = sys.stdin.fileno()
    while True:
        ready, _, _ = select.select([orders, woken], [], [], CHECK_OWNER_S)
        if orders in ready:
            order = os.read(orders, 1)
            if order == b"T":
                os.kill(server, signal.SIGTERM)
            else:
                return _end(server, remove if order == b"" else "")
        elif os.getppid() != owner:
            # The pipe may be held open by a fork of the owner that goes on without it.
            return _end(server, remove)
        if woken in ready:
            os.read(woken, 4096)
            pid, status = os.waitpid(server, os.WNOHANG)
            if pid == server:
                return _exit_code(status)


def _become(command: list[str], watcher: int, libc: ctypes.CDLL | None) -> NoReturn:
    try:
        if libc is not None:
            # Safe here, since the watcher has one thread, which ends only with the watcher.
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != watcher:
                os._exit(1)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(2, 1)
        os.execv(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
    os._exit(127)


def _end(server: int, remove: str) -> int:
    os.kill(server, signal.SIGKILL)
    _, status = os.waitpid(server, 0)
    if remove:
        shutil.rmtree(remove, ignore_errors=True)
    return _exit_code(status)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3:]))
