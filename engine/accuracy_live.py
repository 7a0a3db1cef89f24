"""A network is run again, now: on all test images or on some, with progress, and with the option to stop.

Stored figures can be believed because they can be computed again. The run has a thread of its own, so that whoever
started it can look on; the network is only read. Another processor adds in another order, so logits may differ in
their last digits and an image with two equally good answers may tip; `differences` counts what did.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from engine.errors import ConvscopeError
from engine.evaluation import Predictions

Evaluate = Callable[[Callable[[int], object]], Predictions]
"""Runs the network and reports the number of images done to the function that it is given."""


class _Stopped(Exception):
    pass


class LiveRun:
    """One evaluation in a thread of its own.

    Attributes:
        total: how many images there are; `done`: how many of them are through.
        result: the predictions once it has finished.
        error: what went wrong, as a sentence.
        stopped: whether it was stopped before its end.
    """

    def __init__(self, evaluate: Evaluate, total: int) -> None:
        self.total, self.done = total, 0
        self.result: Predictions | None = None
        self.error: str | None = None
        self.stopped = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(evaluate,), daemon=False)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it is still at work."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Ask it to stop; it does so after the batch that it is at."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> None:
        """Wait until it has ended, at most `seconds`."""
        self._thread.join(seconds)

    def _run(self, evaluate: Evaluate) -> None:
        try:
            self.result = evaluate(self._note)
        except _Stopped:
            self.stopped = True
        except ConvscopeError as error:
            self.error = str(error)
        except Exception as error:  # a thread's traceback would reach nobody
            self.error = f"The evaluation broke off ({type(error).__name__}: {error}): start it again."

    def _note(self, done: int) -> None:
        self.done = done
        # A program that ends waits for its threads, and to kill one in the midst of a forward pass would be a crash.
        leaving = not threading.main_thread().is_alive()
        if (self._stop.is_set() or leaving) and done < self.total:
            raise _Stopped


@dataclass(frozen=True)
class Differences:
    """Live against stored predictions: images with another answer, and the largest gap between two logits."""

    images: int
    answers: int
    logits: float


def differences(live: Predictions, stored: Predictions) -> Differences:
    """How far live predictions are from the stored ones of the same images.

    Raises:
        ConvscopeError: they are not of the same images.
    """
    if live.logits.shape != stored.logits.shape or not np.array_equal(live.labels, stored.labels):
        raise ConvscopeError("The stored predictions are of other images: evaluate the network on the test images.")
    gap = float(np.abs(live.logits - stored.logits).max(initial=0))
    return Differences(len(live), int((live.predicted != stored.predicted).sum()), gap)


def in_words(found: Differences) -> str:
    """Whether live and stored answers agree, in a sentence."""
    if found.answers == 0:
        agreement = f"All {found.images:,} live answers are the stored ones"
    else:
        agreement = f"{found.answers:,} of {found.images:,} live answers differ from the stored ones"
    return f"{agreement}; no logit is further than {found.logits:.1g} from its stored value."
