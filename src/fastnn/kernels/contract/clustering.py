"""What the engine of k-means asks of a device: one class for each thing, and ``ClusteringBackend`` for all.

Rows are what a backend's ``as_rows`` makes of a user's data; each backend takes its own kinds alone. Centres,
their sums and their weights are few: they are arrays of NumPy between two calls, on every device. Three loops
may stay on a device for many steps; where a backend gives None for one, the engine goes step by step, by
``Sweeps``.
"""

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from fastnn.kernels.shared.arrays import Csr
from fastnn.kernels.shared.center_arguments import CenterRule, MiniBatchRule
from fastnn.kernels.shared.device_rows import DeviceRows

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix  # kernels do without

# Rows of any backend, as an engine has them.
Rows = np.ndarray | Csr | DeviceRows
# What they are made of: a user's data, checked.
Data: TypeAlias = "np.ndarray | csr_matrix | DeviceRows"
# Rows of one backend, and the same where a class only takes them.
Own = TypeVar("Own")
Taken = TypeVar("Taken", contravariant=True)


class Sweeps(Protocol[Taken]):
    """Passes over rows, and what the last one has found.

    Attributes
    ----------
    labels : ndarray of shape (n,), int32
        Nearest centre of each row.
    distances : ndarray of shape (n,)
        Squared distance to it.
    sums, counts : ndarrays of shape (k, d) and (k,), float64
        Of each cluster's rows, and of their weights.
    """

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def distances(self) -> np.ndarray: ...

    @property
    def sums(self) -> np.ndarray: ...

    @property
    def counts(self) -> np.ndarray: ...

    def sweep(self, X: Taken, weights: np.ndarray, C: np.ndarray, *, summing: bool) -> float:
        """Assign all rows, and add them up if `summing`; the inertia. Weights of (0,) stand for ones."""

    def sum_all(self, X: Taken) -> None:
        """Add all rows up, as those of one cluster; dense ones."""


class LloydIterations(Protocol):
    """Lloyd's iterations; labels, distances, sums and counts are as those of ``Sweeps``.

    Attributes
    ----------
    centers : ndarray of shape (k, d)
        Those that the last iteration has led to.
    """

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def distances(self) -> np.ndarray: ...

    @property
    def centers(self) -> np.ndarray: ...

    @property
    def sums(self) -> np.ndarray: ...

    @property
    def counts(self) -> np.ndarray: ...

    def iterate(self) -> tuple[float, float, bool]:
        """One iteration; the inertia before it, the squared movement, and whether clusters are empty.

        If some are, `sums` and `counts` are to be changed, and ``move_again`` is to be called.
        """

    def move_again(self) -> float:
        """Let the last iteration's centres be those of `sums` and `counts`; their squared movement."""

    def confirm(self, inertia: float, moved: float) -> tuple[float, float]:
        """The inertia and the movement of the last iteration, where these were not yet known for certain."""

    def assign(self) -> float:
        """Assign the rows to the centres; the inertia."""


class MiniBatchSteps(Protocol):
    """Steps of mini-batch k-means."""

    def load(self, C: np.ndarray) -> None:
        """Take these centres; the array may change with them."""

    def save(self, C: np.ndarray, before: np.ndarray) -> None:
        """Copy the centres, and those before the last batch if there is room, to where they are wanted.

        Those before are kept where a rule's `tol` is more than 0.
        """

    def run(
        self, rows: np.ndarray, n_batches: int, rule: MiniBatchRule, seen: np.ndarray, progress: np.ndarray
    ) -> tuple[int, int]:
        """Steps on these batches, or on the first of them; the number done and the status.

        rows : (n_batches * batch_size,) int64. seen, progress : (k,) and (PROGRESS_SIZE,), changed in place.
        After STARVED the centres have moved, and the inertia of the batch has not been judged.
        """


class GradientSteps(Protocol):
    """Gradient steps, over batches of an epoch's rows."""

    def load(
        self, C: np.ndarray, safe: np.ndarray, seen: np.ndarray, clock: np.ndarray, slots: np.ndarray
    ) -> None:
        """Take these centres, those to go back to, and what centres carry; all may change in place."""

    def save(self, C: np.ndarray, touched: np.ndarray) -> None:
        """Copy the centres, and the weight that each had in the epoch, to where they are wanted."""

    def save_state(self, safe: np.ndarray, seen: np.ndarray, clock: np.ndarray, slots: np.ndarray) -> None:
        """Copy the safe centres, and what centres carry, to where they are wanted."""

    def begin(self, rows: np.ndarray, hyper: np.ndarray, progress: np.ndarray) -> None:
        """An epoch begins, with the rows in this order; `progress` is changed in place by ``run``."""

    def run(
        self, first: int, last: int, rule: CenterRule, patience: int, losses: np.ndarray
    ) -> tuple[int, int]:
        """Steps on the batches first..last of the epoch, whose losses are written; the number of batches of
        the epoch that are done, and the status."""


class Seeding(Protocol):
    """The passes of k-means++, each of which keeps the distance of every row to its nearest centre."""

    def try_rows(self, rows: np.ndarray) -> np.ndarray:
        """Take the first of these rows as a centre; the potentials by task, and with each of the others."""

    def pick(self, last: int, potential: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Rows at which the running sum of the potential, that knows of row `last`, reaches the targets."""


class ClusteringBackend(Protocol[Own]):
    """A device for k-means."""

    def as_rows(self, X: "Own | csr_matrix", dtype: DTypeLike | None = None) -> Own:
        """Data as rows that the other methods take; in their own dtype, unless another is given."""

    def take(self, X: "Own | csr_matrix", rows: np.ndarray) -> "Own | csr_matrix":
        """A copy of some rows, on the device, of the kind of X."""

    def on_host(self, X: "Own | csr_matrix") -> "np.ndarray | csr_matrix":
        """All rows on the host, for what works there alone."""

    def as_given(self, X: "Own | csr_matrix") -> Any:
        """The rows as the kind of array that the user gave."""

    def have_direction(self, X: "Own | csr_matrix") -> np.ndarray:
        """Which rows are not all zeros: a mask (n,)."""

    def unit_rows(self, X: "Own | csr_matrix") -> "Own | csr_matrix":
        """The rows divided by their lengths; X itself if all have unit length already."""

    def nearest(self, X: Own, C: np.ndarray) -> Any:
        """Number of the nearest centre of every row (n,) int32, as an array of the user's kind."""

    def distances_to(self, X: Own, C: np.ndarray) -> Any:
        """Distance of every row to every centre (n, k), as an array of the user's kind; of dense rows."""

    def sweeps(self, X: Own, k: int, n: int | None = None) -> Sweeps[Own]:
        """Passes over rows like those of X: over all of them, or over `n`."""

    def iterations(
        self, X: Own, weights: np.ndarray | None, C: np.ndarray, on_sphere: bool
    ) -> LloydIterations | None:
        """Lloyd's iterations whose centres stay on the device, from these."""

    def mini_batches(self, X: Own, k: int, batch_size: int) -> MiniBatchSteps | None:
        """Steps of mini-batch k-means that stay on the device."""

    def gradient_steps(
        self, X: Own, weights: np.ndarray | None, k: int, n_rows: int, batch_size: int | None
    ) -> GradientSteps | None:
        """Gradient steps that stay on the device.

        n_rows : rows of an epoch. batch_size : None for all rows of X, in place.
        """

    def seeding(self, X: Own, weights: np.ndarray | None, n_clusters: int, n_trials: int) -> Seeding:
        """The passes of k-means++ over dense rows, for so many centres, with so many candidates for each."""
