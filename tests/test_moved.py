"""Models load that were pickled when modules had other names."""

import importlib
import lzma
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest

from fastnn import Autoencoder, GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier, MLPRegressor, _moved
from tests.kernels.compiler.test_jit import run

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.default_rng(0).normal(size=(60, 3))
Y = np.arange(60) % 3

# Models that were fitted and pickled by the last commit before modules moved: name -> pickle, predictions,
# and for those with a partial_fit the predictions after one call of it with X and Y.
FORMER = pickle.loads(lzma.decompress((Path(__file__).parent / "former_models.pickle.xz").read_bytes()))


@pytest.mark.parametrize("name", FORMER)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
def test_a_model_of_the_former_modules_loads(name):
    pickled, predicted, *after = FORMER[name]
    model = pickle.loads(pickled)
    np.testing.assert_allclose(model.predict(X), predicted, rtol=1e-12)
    for expected in after:
        np.testing.assert_allclose(model.partial_fit(X, Y).predict(X), expected, rtol=1e-9)


@pytest.mark.parametrize("old", _moved.MOVED)
def test_a_former_name_is_the_module_of_today(old):
    new = importlib.import_module(_moved.MOVED[old])
    assert importlib.import_module(old) is sys.modules[old] is new
    assert new.__name__ == new.__spec__.name == _moved.MOVED[old]


def test_a_pickle_may_be_the_first_to_name_the_package():
    data = pickle.dumps(GradKMeans(), protocol=0)
    data = data.replace(b"fastnn.estimators.kmeans.gradient", b"fastnn.estimators.grad_kmeans")
    assert run(f"import pickle; print(pickle.loads({data!r}))") == "GradKMeans()"


def test_it_is_installed_once_and_asked_last():
    _moved.install()
    assert sys.meta_path.count(_moved.MovedModules) == 1
    assert _moved.MovedModules.find_spec("fastnn.tables.losses") is None
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("fastnn.no_such_module")


def test_packages_have_the_names_of_the_modules_before_them():
    from fastnn.estimators import kmeans, mlp

    for package, kinds in (
        (mlp, (Autoencoder, MLPClassifier, MLPRegressor)),
        (kmeans, (KMeans, MiniBatchKMeans, GradKMeans)),
    ):
        for kind in kinds:
            assert getattr(package, kind.__name__) is kind
        with pytest.raises(AttributeError, match="no_such_name"):
            _ = package.no_such_name
