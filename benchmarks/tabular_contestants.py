"""Who learns the tables, each with its defaults and the preprocessing that it asks for."""

from collections.abc import Callable
from typing import Any, NamedTuple

from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import fastnn
from benchmarks.contestants import optional
from benchmarks.tabular_data import Table

REALMLP, SKLEARN, LIGHTGBM, PYTABKIT = (
    "fastnn RealMLP",
    "scikit-learn MLP",
    "LightGBM",
    "pytabkit RealMLP-TD-S",
)
ENSEMBLE = f"{REALMLP}, ensemble of 8"


class Contestant(NamedTuple):
    """What makes an estimator for a table, a seed and a number of threads."""

    name: str
    make: Callable[[Table, int, int], Any]


def contestants(*, ensembles: bool = False) -> list[Contestant]:
    """All whose packages are installed."""
    found = [
        Contestant(SKLEARN, _plain(MLPClassifier, MLPRegressor)),
        Contestant("fastnn MLP", _plain(fastnn.MLPClassifier, fastnn.MLPRegressor)),
        Contestant("HistGradientBoosting", _histograms),
        Contestant(REALMLP, _real_mlp()),
    ]
    if ensembles:
        found.append(Contestant(ENSEMBLE, _real_mlp(ensemble=8)))
    if optional("lightgbm") is not None:
        found.append(Contestant(LIGHTGBM, _lightgbm))
    if optional("pytabkit") is not None:
        found.append(Contestant(PYTABKIT, _pytabkit))
    return found


def _numbers() -> ColumnTransformer:
    """Medians for missing numbers, with columns that say where; the other columns as they are."""
    return ColumnTransformer(
        [
            (
                "numbers",
                SimpleImputer(strategy="median", add_indicator=True),
                make_column_selector(dtype_include="number"),
            )
        ],
        remainder="passthrough",
        verbose_feature_names_out=False,
    )


def _plain(classifier: type, regressor: type) -> Callable[[Table, int, int], Any]:
    """A network of a package: inputs (and a regressor's targets) standardised, categories one-hot."""

    def make(table: Table, seed: int, threads: int) -> Any:
        inputs = ColumnTransformer(
            [
                (
                    "numbers",
                    make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()),
                    make_column_selector(dtype_include="number"),
                ),
                (
                    "categories",
                    OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                    make_column_selector(dtype_include="category"),
                ),
            ]
        )
        if table.classifies:
            return make_pipeline(inputs, classifier(random_state=seed))
        network = regressor(random_state=seed)
        return make_pipeline(inputs, TransformedTargetRegressor(network, transformer=StandardScaler()))

    return make


def _real_mlp(**options: Any) -> Callable[[Table, int, int], Any]:
    def make(table: Table, seed: int, threads: int) -> Any:
        kind = fastnn.RealMLPClassifier if table.classifies else fastnn.RealMLPRegressor
        return kind(random_state=seed, missing="median", **options)

    return make


def _histograms(table: Table, seed: int, threads: int) -> Any:
    kind = HistGradientBoostingClassifier if table.classifies else HistGradientBoostingRegressor
    return kind(random_state=seed)


def _lightgbm(table: Table, seed: int, threads: int) -> Any:
    package = optional("lightgbm")
    kind = package.LGBMClassifier if table.classifies else package.LGBMRegressor
    return kind(random_state=seed, n_jobs=threads, verbose=-1)


def _pytabkit(table: Table, seed: int, threads: int) -> Any:
    package = optional("pytabkit")
    kind = package.RealMLP_TD_S_Classifier if table.classifies else package.RealMLP_TD_S_Regressor
    network = kind(device="cpu", random_state=seed, n_threads=threads, verbosity=0)
    if table.X.select_dtypes("number").notna().all(axis=None):
        return network
    # It has no place for missing numbers, and needs frames to find categories.
    return make_pipeline(_numbers().set_output(transform="pandas"), network)
