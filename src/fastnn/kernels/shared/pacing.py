"""How many steps a compiled call does: as many as take about 0.2 s, so that Ctrl-C is answered."""

import math

from fastnn.kernels.shared.threads import CALL_SECONDS, Pace

# Seconds of a step at least, as far as a clock can tell.
_SHORTEST = 1e-7


class CallPacing:
    """The calls of a long loop of equal steps: their length, and whether they may use threads.

    ::

        while done < n_steps:
            count = pacing.steps(n_steps - done)
            with threads_for(flops if pacing.allows_threads() else 0.0) as parallel:
                ...  # a call of `count` steps
            pacing.report(parallel, reached, seconds)

    Parameters
    ----------
    growth : float, default=inf
        How many times as long as the last call the next one may be: a first call may have been misjudged.
    most_threaded : float, default=inf
        Steps of a call on several threads at most: where the cores turn out to be taken a step lasts 10 ms
        and more, and the call must still end.
    """

    def __init__(self, *, growth: float = math.inf, most_threaded: float = math.inf) -> None:
        self._growth, self._most_threaded = growth, most_threaded
        self._at_once = 1
        self._called = {True: False, False: False}
        self._pace = Pace()

    def allows_threads(self) -> bool:
        """Whether the next call may use threads."""
        return self._pace.allows()

    def steps(self, n_left: int) -> int:
        """How many of the steps that are left the next call should do."""
        at_once = min(self._at_once, self._most_threaded) if self.allows_threads() else self._at_once
        return min(n_left, self._pace.steps(int(at_once)))

    def report(self, parallel: bool, n_done: int, seconds: float) -> None:
        """Tell whether a call has used threads, how many steps it has done, and how long it took."""
        n_done = max(n_done, 1)
        if self._called[parallel]:  # the first call may have compiled
            self._pace.report(parallel, seconds / n_done)
        self._called[parallel] = True
        lasting = int(CALL_SECONDS / max(seconds / n_done, _SHORTEST))
        self._at_once = int(max(1, min(lasting, self._growth * n_done)))
