"""Time of an epoch against the number of rows and of weights."""

import warnings

from benchmarks.peers_mlp import Net, epoch_sampler, make_data
from benchmarks.race import FASTNN, Lines, Race, Settings, Table, alternate
from fastnn import MLPClassifier

ROWS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
ROWS_NETWORKS = (Net(0, 50, (100,), 2, 200, "relu"), Net(0, 50, (100, 100), 10, 200, "relu"))
WIDTHS = (16, 32, 64, 128, 256, 512, 1024, 2048)
WIDTH_ROWS = 10_000
WIDTH_NETWORKS = tuple(Net(WIDTH_ROWS, 64, (width,), 10, 200, "relu") for width in WIDTHS)


def _epoch(net: Net, n: int, settings: Settings) -> float:
    """Seconds of an epoch of `n` rows."""
    X, y = make_data(n, net.n_in, net.n_classes, net.dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds, _ = alternate({FASTNN: epoch_sampler(MLPClassifier, net, X, y)}, settings.budget)
    return seconds[FASTNN]


def _against_rows(settings: Settings) -> Table:
    rows, series = [], {}
    for net in ROWS_NETWORKS:
        points = [(n, _epoch(net, n, settings)) for n in map(settings.rows, ROWS)]
        series[net.layers] = points
        for n, seconds in points:
            notes = {"ns a row": f"{1e9 * seconds / n:.0f}"}
            rows.append(Race(net.label(n), {FASTNN: seconds}, {}, flops=net.flops(n), notes=notes))
    text = "Time of an epoch against the number of rows; 1,000 rows are five batches."
    lines = Lines("scaling-rows.svg", "rows", "seconds an epoch", series)
    return Table("Scaling with the rows", text, rows, lines)


def _against_width(settings: Settings) -> Table:
    rows, points = [], []
    for net in WIDTH_NETWORKS:
        n = settings.rows(net.n)
        seconds = _epoch(net, n, settings)
        weights = sum((a + 1) * b for a, b in zip(net.sizes, net.sizes[1:]))
        points.append((weights, seconds))
        notes = {"weights": f"{weights:,}", "ps a row and weight": f"{1e12 * seconds / n / weights:.1f}"}
        rows.append(Race(net.label(n), {FASTNN: seconds}, {}, flops=net.flops(n), notes=notes))
    text = "Time of an epoch against the number of weights, for hidden layers of 16 to 2048 units."
    lines = Lines("scaling-width.svg", "weights", "seconds an epoch", {"64-width-10": points})
    return Table("Scaling with the width", text, rows, lines)


def scaling(settings: Settings) -> list[Table]:
    """The tables of times against rows and weights, with their pictures."""
    return [_against_rows(settings), _against_width(settings)]
