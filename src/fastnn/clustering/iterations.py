"""Strategies for Lloyd's iterations: how the rows find their nearest centres, and what need not be looked at.

Each is a ``LloydIterations`` of the contract, as those are whose centres stay on a device. ``lloyd`` is the
one loop over all of them.
"""

import numpy as np

from fastnn.clustering.bounds import Bounds
from fastnn.clustering.leading import Leading
from fastnn.clustering.passes import Rows, weights_or_empty
from fastnn.kernels.clustering import clustering_backend, device
from fastnn.kernels.contract.clustering import LloydIterations, Sweeps


class PlainIterations:
    """Every row is compared with every centre, on whichever device; the centres are on the host.

    Parameters
    ----------
    X : ndarray of shape (n, d), C-contiguous, Csr or DeviceRows
    weights : ndarray of shape (n,) or None
        None stands for ones.
    C : ndarray of shape (k, d)
        Initial centres; not changed.
    on_sphere : bool
        Spherical k-means.
    sweeps : Sweeps
        Over rows like those of X, and as many centres.

    Attributes
    ----------
    centers : ndarray of shape (k, d)
        Those that the last iteration has led to; they change in the one after the next.
    """

    def __init__(
        self, X: Rows, weights: np.ndarray | None, C: np.ndarray, on_sphere: bool, sweeps: Sweeps
    ) -> None:
        self._X, self._weights, self._on_sphere = X, weights_or_empty(weights, X), on_sphere
        self._sweeps = sweeps
        self.centers = self._before = C
        # The initial centres are the caller's: from then on two arrays take turns.
        self._next, self._spare = np.empty_like(C), np.empty_like(C)

    @property
    def labels(self) -> np.ndarray:
        """Nearest centre of each row in the last sweep (n,) int32."""
        return self._sweeps.labels

    @property
    def distances(self) -> np.ndarray:
        """Squared distance to it (n,)."""
        return self._sweeps.distances

    @property
    def sums(self) -> np.ndarray:
        """Sums of the clusters (k, d)."""
        return self._sweeps.sums

    @property
    def counts(self) -> np.ndarray:
        """Weights of the clusters (k,)."""
        return self._sweeps.counts

    def iterate(self) -> tuple[float, float, bool]:
        """As ``LloydIterations.iterate``; the inertia is NaN where it is not computed."""
        inertia = self._sweep(summing=True)
        if not self.counts.all():
            return inertia, np.inf, True
        return inertia, self._move(), False

    def move_again(self) -> float:
        """As ``LloydIterations.move_again``."""
        return self._move()

    def confirm(self, inertia: float, moved: float) -> tuple[float, float]:
        """What is given: nothing has been left out."""
        return inertia, moved

    def assign(self) -> float:
        """As ``LloydIterations.assign``."""
        return self._sweep(summing=False)

    def _sweep(self, *, summing: bool) -> float:
        """Nearest centres of all rows, and sums by cluster if `summing`; the inertia."""
        return self._sweeps.sweep(self._X, self._weights, self.centers, summing=summing)

    def _move(self) -> float:
        moved = device.cluster_means(self.centers, self.sums, self.counts, self._on_sphere, self._next)
        self._before, self.centers = self.centers, self._next
        self._next, self._spare = self._spare, self._next
        return moved


class LeadingIterations(PlainIterations):
    """Most centres are ruled out by the leading dimensions of long rows, see ``Leading``."""

    _sweeps: device.HostSweeps

    def __init__(
        self,
        X: np.ndarray,
        weights: np.ndarray | None,
        C: np.ndarray,
        on_sphere: bool,
        sweeps: device.HostSweeps,
        leading: Leading,
    ) -> None:
        super().__init__(X, weights, C, on_sphere, sweeps)
        self._leading = leading

    def _sweep(self, *, summing: bool) -> float:
        return self._leading.sweep(self._weights, self.centers, self._sweeps, summing=summing)


class BoundedIterations(PlainIterations):
    """Rows whose centre cannot have changed are left out, see ``Bounds``; in iterations where that pays.

    Parameters
    ----------
    X, weights, C, on_sphere, sweeps
        As of ``PlainIterations``; X is an ndarray.
    max_iter : int
        Iterations at most.
    """

    _sweeps: device.HostSweeps

    def __init__(
        self,
        X: np.ndarray,
        weights: np.ndarray | None,
        C: np.ndarray,
        on_sphere: bool,
        sweeps: device.HostSweeps,
        max_iter: int,
    ) -> None:
        super().__init__(X, weights, C, on_sphere, sweeps)
        self._bounds, self._left = Bounds(X, len(C)), max_iter
        # Whether the last iteration had bounds, and whether its sums were corrected ones.
        self._bounded = self._corrected = False

    def iterate(self) -> tuple[float, float, bool]:
        bounds = self._bounds
        self._left -= 1
        self._bounded, self._corrected = bounds.active, bounds.corrected
        if self._bounded:
            bounds.sweep(self._weights, self.centers, self._before, self._sweeps)
            if self.counts.all():
                return np.nan, self._move(), False
            # Where a cluster is empty all distances are wanted.
            self._bounded = False
        inertia = self._sweep(summing=True)
        bounds.watch(self.labels, self._left)
        if not self.counts.all():
            return inertia, np.inf, True
        return inertia, self._move(), False

    def move_again(self) -> float:
        self._corrected = False
        return self._move()

    def confirm(self, inertia: float, moved: float) -> tuple[float, float]:
        """Where no row seems to have changed its centre: the inertia, and whether that is so."""
        if self._corrected and self._bounds.unchanged:
            moved = 0.0  # but for the rounding of the sums that the centres before were made from
        if moved == 0 and (self._bounded or self._corrected):
            self._settle()
            labels = self.labels.copy()
            # With the sums, though nobody needs them: the inertia is added up in their chunks.
            inertia = self._sweep(summing=True)
            if (labels != self.labels).any():
                # Corrected sums are right but for rounding, and nothing else is left of them where a row has
                # gone beside which the others vanish.
                self._bounds.watch(self.labels, self._left)
                moved = np.inf
        return inertia, moved

    def assign(self) -> float:
        self._settle()
        return super().assign()

    def _settle(self) -> None:
        """The means of the clusters, of sums that are added up from all rows, if these are corrected ones."""
        if not self._bounds.corrected:
            return
        self._bounds.add_up(self._weights, self._sweeps)
        device.cluster_means(self._before, self.sums, self.counts, self._on_sphere, self.centers)


def iterations_over(
    X: Rows,
    weights: np.ndarray | None,
    C: np.ndarray,
    on_sphere: bool,
    *,
    max_iter: int,
    accelerate: bool,
) -> LloydIterations:
    """Lloyd's iterations by the strategy that suits the rows, where these lie; arguments as of ``lloyd``."""
    backend = clustering_backend(X)
    on_device = backend.iterations(X, weights, C, on_sphere)
    if on_device is not None:
        return on_device
    sweeps = backend.sweeps(X, len(C))
    if accelerate and isinstance(X, np.ndarray):
        assert isinstance(sweeps, device.HostSweeps)
        leading = Leading.of(X, C)
        if leading is not None:
            return LeadingIterations(X, weights, C, on_sphere, sweeps, leading)
        if Bounds.may_pay(*X.shape[:1], *C.shape):
            return BoundedIterations(X, weights, C, on_sphere, sweeps, max_iter)
    return PlainIterations(X, weights, C, on_sphere, sweeps)
