"""Many small networks in one fit beside as many fits one after the other."""

import warnings

import numpy as np
from sklearn.datasets import load_digits

from benchmarks.contestants import limit_threads
from benchmarks.race import FASTNN, Race, Settings, Table, race
from fastnn import MLPClassifier

NETWORKS, EPOCHS = 8, 20
ONE_BY_ONE = "one after the other"
# The least ratio that is asked for: at most 0.85 of the time.
ASKED = 1 / 0.85


def _fits(dtype: str, settings: Settings) -> Race:
    X, y = load_digits(return_X_y=True)
    n = max(300, settings.rows(len(X)))  # all classes
    X, y = (X[:n] / 16).astype(dtype), y[:n]
    model = MLPClassifier(
        (100,), max_iter=EPOCHS, random_state=0, ensemble=NETWORKS, n_threads=settings.threads
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        members = model.fit(X, y).estimators_
        singles = [MLPClassifier(**member.get_params()) for member in members]

        def one_by_one() -> None:
            for single in singles:
                single.fit(X, y)

        calls = {FASTNN: lambda: model.fit(X, y), ONE_BY_ONE: one_by_one}
        case = f"digits, {dtype}: {n} rows, 64-100-10, {EPOCHS} epochs of adam"
        asked = {ONE_BY_ONE: ASKED} if settings.threads > 1 else {}
        result = race(case, calls, settings, asked=asked, dtype=dtype)
    for member, single in zip(members, singles, strict=True):
        for kept, apart in zip(member.coefs_, single.coefs_, strict=True):
            np.testing.assert_array_equal(kept, apart)
    return result


def many(settings: Settings) -> list[Table]:
    """The table of networks side by side."""
    limit_threads(settings.threads)
    return [
        Table(
            "Many networks at once",
            f"Fits of `MLPClassifier(ensemble={NETWORKS})`, one network on each core at a time, beside fits "
            "of the same networks one after the other, each on all cores.",
            [_fits(dtype, settings) for dtype in ("float32", "float64")],
        )
    ]
