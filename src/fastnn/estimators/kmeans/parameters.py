"""The parameters that all k-means estimators have, each declared once, and what two of them say of one."""

from sklearn.utils._param_validation import StrOptions

from fastnn.estimators.declaration import AT_LEAST_ONE, declared, parameter

METRICS = StrOptions({"euclidean", "cosine"})

# Documentation of the parameter of that name, which has another place in each of their signatures.
N_INIT = """
Number of runs from different initial centres; the one with the lowest inertia is kept. ``'auto'``
is 10 for ``init='random'`` or a callable, and 1 for the others.
"""


@declared
class KMeansParameters:
    """What every k-means estimator can be told."""

    n_clusters: int = parameter(
        AT_LEAST_ONE,
        default=8,
        kw_only=False,
        doc="Number of clusters, and of centres.",
    )
    metric: str = parameter(
        METRICS,
        default="euclidean",
        kind="{'euclidean', 'cosine'}",
        doc="""
        ``'cosine'`` is spherical k-means: rows are divided by their lengths (in a copy, unless they have unit
        length), and so are the centres after each step; see ``KMeans``.
        """,
    )
    n_threads: int | None = parameter(
        AT_LEAST_ONE,
        None,
        default=None,
        kind="int",
        doc="""
        Threads that a call of a method uses at most. None stands for all cores that this process may use: as
        ``NUMBA_NUM_THREADS``, ``numba.set_num_threads``, the processor affinity, the cgroup's quota and
        joblib's limits for its workers allow. The result does not depend on it.
        """,
    )
    device: str | None = parameter(
        str,
        None,
        default=None,
        kind="{'cpu', 'cuda', 'cuda:0', 'cuda:1', ...}",
        doc="""
        Where to compute, on the processor or an NVIDIA GPU. None follows the data of each call: the GPU for
        an array that lies there (CuPy's, PyTorch's, ...; used in place if it is contiguous and float32 or
        float64), else the processor. Arrays of NumPy that a GPU has no room for go there in blocks. What a
        method returns is of the kind of its data; fitted attributes are arrays of NumPy, so a model that was
        fitted on a GPU can be loaded without one. Sparse data need the processor.
        """,
    )
    precision: str | None = parameter(
        StrOptions({"tf32"}),
        None,
        default=None,
        kind="{None, 'tf32'}",
        doc="""
        'tf32' lets a GPU of compute capability 8.0 or later multiply float32 on its tensor cores. The labels
        are as exact as without: where the rounding of factors could have chosen a centre, float32 does.
        """,
    )
