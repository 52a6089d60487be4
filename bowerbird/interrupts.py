"""Ctrl-C, however a library takes it: an import or a compiler may swallow the exception that it raises."""

# The module `signal` takes longer to import than all else here.
import _signal as signal  # type: ignore[import-not-found]
import os
import sys

INTERRUPTED = 130
GRACE_S = 2.0
LOOK_EVERY_S = 0.2
SHOW_CURSOR = "\x1b[?25h"

_pressed = False
_pipe: int | None = None


def note() -> None:
    """Note from now on that Ctrl-C was pressed; the interpreter itself writes that down."""
    global _pipe
    _pipe, written = os.pipe()
    for end in (_pipe, written):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(written, warn_on_full_buffer=False)


def pressed() -> bool:
    """Tell whether Ctrl-C was pressed."""
    global _pressed
    if _pipe is not None and not _pressed:
        try:
            _pressed = signal.SIGINT in os.read(_pipe, 512)
        except BlockingIOError:
            return False
    return _pressed


def leave(*_: object) -> None:
    """End this process at once with the exit code 130, and the processes that share its work."""
    if (processes := sys.modules.get("multiprocessing.process")) is not None:
        for child in processes.active_children():
            child.kill()
    os._exit(INTERRUPTED)


class Heeded:
    """Ends the process within seconds of Ctrl-C, also where nothing else does; for work that changes nothing.

    A context manager.
    """

    def __enter__(self) -> None:
        from threading import Event, Thread

        self._over = Event()
        Thread(target=self._watch, name="bowerbird-interrupts", daemon=True).start()

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            if pressed():
                if not self._over.wait(GRACE_S):
                    if sys.stderr.isatty():
                        sys.stderr.write(SHOW_CURSOR)
                        sys.stderr.flush()
                    leave()
                return
