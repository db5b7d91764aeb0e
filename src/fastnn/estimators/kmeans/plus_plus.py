"""``kmeans_plusplus``, the seeding of k-means as a function of its own. No arithmetic stands here."""

from numbers import Integral

import numpy as np
from sklearn.utils import check_array, check_random_state
from sklearn.utils._param_validation import Interval, validate_params

from fastnn.clustering.seeding import plus_plus_rows
from fastnn.estimators.draft import python_number
from fastnn.estimators.on_device import refuse_sparse
from fastnn.estimators.sparse_rows import canonical_csr
from fastnn.estimators.weights import checked_weights
from fastnn.kernels import device_number, device_rows, to_host, to_kind_of
from fastnn.kernels.shared.arrays import plain
from fastnn.kernels.shared.device_rows import is_device_array


@validate_params(
    {
        "X": ["array-like", "sparse matrix"],
        "n_clusters": [Interval(Integral, 1, None, closed="left")],
        "sample_weight": ["array-like", None],
        "x_squared_norms": ["array-like", None],
        "random_state": ["random_state"],
        "n_local_trials": [Interval(Integral, 1, None, closed="left"), None],
        "device": [str, None],
    },
    prefer_skip_nested_validation=True,
)
def kmeans_plusplus(
    X,
    n_clusters,
    *,
    sample_weight=None,
    x_squared_norms=None,
    random_state=None,
    n_local_trials=None,
    device=None,
):
    """Initial centres by greedy k-means++.

    With the same `random_state` the rows that ``sklearn.cluster.kmeans_plusplus`` chooses, rounding aside.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
        The rows to choose from. float32 and float64 are kept, anything else becomes float64.
    n_clusters : int
        Number of centres.
    sample_weight : array-like of shape (n_samples,), default=None
        Weight of each row; None for ones.
    x_squared_norms : array-like of shape (n_samples,), default=None
        Accepted, checked for its length, and not used: distances are sums of squared differences.
    random_state : int, RandomState instance or None, default=None
        Drawn from.
    n_local_trials : int, default=None
        Candidates for each centre but the first, of which the one that lowers the inertia most is taken. None
        stands for ``2 + int(log(n_clusters))``.
    device : {'cpu', 'cuda', 'cuda:0', 'cuda:1', ...}, default=None
        Where to compute, on the processor or an NVIDIA GPU. None follows the data: the GPU for an array that
        lies there, whose kind the results have then. Sparse data need the processor.

    Returns
    -------
    centers : ndarray of shape (n_clusters, n_features)
        The centres.
    indices : ndarray of shape (n_clusters,)
        The rows that they are: ``centers[j] == X[indices[j]]``.

    Raises
    ------
    ValueError
        Bad input, or fewer rows than centres.

    References
    ----------
    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import kmeans_plusplus
    >>> X = np.array([[1.0, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> centers, indices = kmeans_plusplus(X, n_clusters=2, random_state=0)
    >>> indices
    array([3, 2])
    """
    n_clusters, n_local_trials = python_number(n_clusters), python_number(n_local_trials)
    given, number = X, device_number(device, (X,))
    refuse_sparse(X, number)
    if number is None or not is_device_array(X):
        X = check_array(
            canonical_csr(to_host(X)), accept_sparse="csr", dtype=[np.float64, np.float32], order="C"
        )
    if number is not None:
        X = device_rows(X, number)
    n = X.shape[0]
    if n < n_clusters:
        raise ValueError(f"n_samples={n} should be >= n_clusters={n_clusters}.")
    if x_squared_norms is not None and len(x_squared_norms) != n:
        raise ValueError(
            f"The length of x_squared_norms {len(x_squared_norms)} should be equal to the length of "
            f"n_samples {n}."
        )
    weights = None
    if sample_weight is not None:
        weights = plain(checked_weights(sample_weight, X, X.dtype), X.dtype)
    rows = plain(X, X.dtype) if isinstance(X, np.ndarray) else X
    found = plus_plus_rows(rows, n_clusters, weights, check_random_state(random_state), n_local_trials)
    centers, indices = (to_kind_of(given, array, device) for array in found)
    return centers, indices
