"""Run many submissions at a time, in processes of this machine or of a cluster."""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from dataclasses import dataclass, replace

from nbformat import NotebookNode

from autograder.intake import prepare
from autograder.run import Job, run

AHEAD = 3  # submissions per worker that are handed out at a time, so that memory does not grow with the class
TRIES = 2  # of a submission whose worker was lost


@dataclass(frozen=True)
class Submission:
    """What a student handed in, and how to run it.  job.notebook is the released notebook."""

    content: bytes
    job: Job


def run_submission(submission: Submission) -> NotebookNode | str:
    """The executed notebook, or a sentence why there is none.  Called in a worker."""
    start = time.monotonic()
    try:
        notebook, _ = prepare(submission.content, submission.job.notebook)
        done = run(replace(submission.job, notebook=notebook))
    except Exception as e:  # noqa: BLE001  whatever it holds, the class goes on
        return str(e) if isinstance(e, ValueError) else f"{type(e).__name__}: {e}"
    done.metadata.cnnlab.update(seconds=round(time.monotonic() - start, 2))
    return done


def run_all(todo: Iterable[tuple[object, Submission | str]], workers: int,
            pool: Callable[[], Executor] | None = None) -> Iterator[tuple[object, NotebookNode | str]]:
    """Run each (key, submission) and yield (key, what it gave) as they end.

    A sentence in place of a submission is passed through.  A submission whose worker is lost is run once more.
    workers: how many there are.  pool: makes the executor they work for; by default they are processes, or with
    one worker this process.
    """
    if workers == 1 and not pool:
        yield from ((key, s if isinstance(s, str) else run_submission(s)) for key, s in todo)
        return
    todo, crew, running, again = iter(todo), _Crew(pool or (lambda: _processes(workers))), {}, deque()
    try:
        while True:
            # What was lost is run alone: if it is lost again it was to blame, not a neighbour.
            while len(running) < (1 if again or any(tries > 1 for *_, tries in running.values()) else AHEAD * workers):
                key, submission, tries = again.popleft() if again else (*next(todo, (None, None)), 0)
                if submission is None:
                    break
                if isinstance(submission, str):
                    yield key, submission
                    continue
                running[crew.submit(run_submission, submission)] = key, submission, tries + 1
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                key, submission, tries = running.pop(future)
                error = CancelledError("it was cancelled") if future.cancelled() else future.exception()
                if error is None:
                    yield key, future.result()
                elif tries < TRIES:
                    again.append((key, submission, tries))
                else:
                    yield key, f"no worker could run it, in {TRIES} tries ({type(error).__name__}: {error})"
    finally:
        crew.leave(wait=not running)
        if running and not pool:  # stopped half-way: what still runs is not waited for
            for worker in multiprocessing.active_children():
                worker.kill()


class _Crew:
    """An executor, made when there is something to do, and made anew when it has lost a process."""

    def __init__(self, make: Callable[[], Executor]):
        self._make, self._executor = make, None

    def submit(self, function: Callable, *arguments: object) -> Future:
        self._executor = self._executor or self._make()
        try:
            return self._executor.submit(function, *arguments)
        except BrokenExecutor:  # what it still had to do says so by itself
            self.leave(wait=False)
            self._executor = self._make()
            return self._executor.submit(function, *arguments)

    def leave(self, wait: bool) -> None:
        """Give it no more to do, and forget what has not begun unless it is to `wait`."""
        if isinstance(self._executor, ProcessPoolExecutor):
            if sys.version_info < (3, 11, 5) and (self._executor._broken or not wait):
                # gh-94777: with every worker gone, what is still being written to them was waited for, for ever.
                self._executor._call_queue._reader.close()
            self._executor.shutdown(wait, cancel_futures=not wait)
        elif self._executor:
            self._executor.shutdown(wait)  # a cluster's knows no cancel_futures: it cancels what is not waited for


def _processes(workers):
    # Spawned, not forked: the progress display runs a thread.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin)


def _begin():
    """In a new worker: leave Ctrl-C to the grader, and end when it ends, however that happens."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG
