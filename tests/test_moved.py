"""Models load that were pickled when modules had other names."""

import importlib
import pickle
import sys

import numpy as np
import pytest

from fastnn import GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier, MLPRegressor, _moved
from tests.kernels.compiler.test_jit import run

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.default_rng(0).normal(size=(60, 3))
Y = np.arange(60) % 3

SMALL = {"hidden_layer_sizes": (3,), "max_iter": 2, "random_state": 0}
MODELS = {
    "adam": MLPClassifier(**SMALL),
    "constant": MLPRegressor(**SMALL, solver="sgd"),
    "invscaling": MLPClassifier(**SMALL, solver="sgd", learning_rate="invscaling"),
    "adaptive": MLPRegressor(**SMALL, solver="sgd", learning_rate="adaptive"),
    "lbfgs": MLPClassifier(**SMALL, solver="lbfgs"),
    "k-means": KMeans(3, random_state=0),
    "mini-batches": MiniBatchKMeans(3, random_state=0),
    "gradient": GradKMeans(3, random_state=0),
}
# Module -> its name in a pickle of then. Where a package is now there was a module.
FORMER = {new: old for old, new in _moved.MOVED.items()} | {
    "fastnn.estimators.kmeans.kmeans": "fastnn.estimators.kmeans",
    "fastnn.estimators.mlp.classifier": "fastnn.estimators.mlp",
    "fastnn.estimators.mlp.regressor": "fastnn.estimators.mlp",
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_the_former_modules_loads(name):
    model = MODELS[name].fit(X, Y)
    data = pickle.dumps(model, protocol=0)  # in which a name has no length before it
    for new, old in FORMER.items():
        data = data.replace(f"c{new}\n".encode(), f"c{old}\n".encode())
    assert f"c{type(model).__module__}\n".encode() not in data
    loaded = pickle.loads(data)
    assert type(loaded) is type(model)
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
    if hasattr(model, "partial_fit"):
        np.testing.assert_array_equal(loaded.partial_fit(X, Y).predict(X), model.partial_fit(X, Y).predict(X))


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
        (mlp, (MLPClassifier, MLPRegressor)),
        (kmeans, (KMeans, MiniBatchKMeans, GradKMeans)),
    ):
        for kind in kinds:
            assert getattr(package, kind.__name__) is kind
        with pytest.raises(AttributeError, match="no_such_name"):
            _ = package.no_such_name
