"""Memory of a fit beyond its input."""

import warnings

from benchmarks.memory import bound, fit_peak
from benchmarks.peers_mlp import NETWORKS, make_data, make_model
from benchmarks.race import Figure, Settings, Table
from fastnn import MLPClassifier


def memory(settings: Settings) -> list[Table]:
    """The table of peaks over their bounds."""
    rows = []
    for net in NETWORKS:
        n = settings.rows(net.n)
        X, y = make_data(n, net.n_in, net.n_classes, net.dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make_model(MLPClassifier, net, 1).fit(X[: net.batch], y[: net.batch])
            peak = fit_peak(make_model(MLPClassifier, net, 2), X, y)
        case = f"{net.label(n)}: {peak / 1e6:.1f} MB beside X of {X.nbytes / 1e6:.1f} MB"
        rows.append(Figure(case, peak / bound(net.sizes, net.batch, n, net.dtype), "of the bound", 1.0))
    text = (
        "Peak of what Python and NumPy allocate during a fit; kernels allocate nothing in training. The "
        "bound is 5 buffers of the size of all parameters, 4 of the size of a batch's activations, and 8 "
        "words of 8 bytes a row with 2 more for each output. X is not copied."
    )
    return [Table("Memory of a fit", text, rows)]
