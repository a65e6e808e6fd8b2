"""The newest request, worked on in a thread of its own."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor


class Latest:
    """Runs `steps` from the start after each `restart`; a newer restart ends the one before at its next pause.

    A thread, not the kernel's event loop: JupyterLab delivers the messages of widgets in threads of their own
    (subshells), older front ends in the main one. Either way a slider is heard while a model runs.
    """

    def __init__(self, steps: Callable[[], Iterator[None]], failed: Callable[[BaseException], None]) -> None:
        self._steps = steps
        self._failed = failed
        self._newest = 0
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="estimate")
        self._future: Future[None] | None = None

    def restart(self) -> None:
        """Begins anew."""
        self._newest += 1
        self._future = self._executor.submit(self._run, self._newest)
        self._future.add_done_callback(self._ended)

    def end(self) -> None:
        """The present request ends at its next pause, and nothing new begins."""
        self._newest += 1

    def settle(self, seconds: float | None = None) -> None:
        """Waits until the newest request is worked off. Raises what it raised, or TimeoutError."""
        if self._future is not None:
            self._future.result(seconds)

    def _run(self, number: int) -> None:
        if number != self._newest:
            return
        for _ in self._steps():
            if number != self._newest:
                return

    def _ended(self, future: Future[None]) -> None:
        error = None if future.cancelled() else future.exception()
        if error is not None:
            self._failed(error)
