"""One piece of work at a time in the background, whose errors arrive in the foreground."""

import threading
import traceback
import weakref
from collections.abc import Callable

__all__ = ["Background"]


class Background:
    """Does one piece of work at a time in a thread that the end of the program waits for.

    Example:
        >>> background = Background()
        >>> background.start(lambda: None)
        >>> background.wait()
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._errors: list[BaseException] = []
        # also at the end of the program, which comes after the thread's
        weakref.finalize(self, _show, self._errors)

    def start(self, work: Callable[[], None]) -> None:
        """Begin a piece of work; the one before it must have been waited for."""

        def run() -> None:
            try:
                work()
            except BaseException as error:
                self._errors.append(error)

        # No daemon: Python ends only after it, so that what was handed over is written. In a process that is forked
        # meanwhile there is no such thread, and nothing to wait for.
        self._thread = threading.Thread(target=run, name="funcnet-checkpoint", daemon=False)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the work to end, and raise what it met, once."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._errors:
            raise self._errors.pop()


def _show(errors: list[BaseException]) -> None:
    """Print errors that nobody waited for."""
    for error in errors:
        traceback.print_exception(error)
