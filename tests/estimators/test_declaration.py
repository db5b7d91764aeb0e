"""A parameter is declared once: Python, scikit-learn, the documentation and static tools see it."""

import copy
import inspect
import pickle
import subprocess
import sys
from numbers import Real
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.utils._param_validation import InvalidParameterError

from fastnn import Autoencoder, GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier, MLPRegressor
from fastnn.estimators.declaration import BELOW_ONE, NOT_NEGATIVE, declared, estimator, one_of, parameter
from fastnn.estimators.draft import Drafting
from fastnn.estimators.kmeans.parameters import KMeansParameters
from fastnn.estimators.mlp.parameters import MLPParameters

ROOT = Path(__file__).resolve().parents[2]
ESTIMATORS = [Autoencoder, MLPClassifier, MLPRegressor, KMeans, MiniBatchKMeans, GradKMeans]
each_estimator = pytest.mark.parametrize("kind", ESTIMATORS)


@declared
class First:
    name: str = parameter(str, default="a", kw_only=False, doc="A name.")


@declared
class Shared:
    size: int | None = parameter(int, None, default=None, kind="int", kw_only=False, doc="A size.")
    rate: float = parameter(NOT_NEGATIVE, default=1e-8, doc="A rate.")
    low: float = parameter(BELOW_ONE, default=0.0, doc="Both ends.")
    high: float = parameter(BELOW_ONE, default=0.5)


@declared
class Own(Shared, First):
    kind: str = parameter(
        str, default="x", kind="{'x', 'y'}", doc="\n        Two\n          lines.\n        "
    )
    rate: float = parameter(NOT_NEGATIVE, default=0.25, doc="Another rate.")


@estimator
class Model(Drafting, Own, BaseEstimator):
    """A model.

    Attributes
    ----------
    size_ : int
        A size.
    """


def test_the_signature():
    # By position from the last base on, by name from the class itself.
    expected = "(self, name='a', size=None, *, kind='x', rate=0.25, low=0.0, high=0.5)"
    assert str(inspect.signature(Model.__init__)) == expected
    assert str(inspect.signature(Model)) == expected.replace("self, ", "")
    assert Model._get_param_names() == ["high", "kind", "low", "name", "rate", "size"]
    assert vars(Model("b", 3, high=0.6)) == {
        "name": "b",
        "size": 3,
        "kind": "x",
        "rate": 0.25,
        "low": 0.0,
        "high": 0.6,
    }
    assert not hasattr(Model, "size")
    assert Model.__init__.__qualname__ == "Model.__init__"
    assert Model.__init__.__module__ == __name__


def test_the_documentation():
    assert inspect.getdoc(Model) == (
        "A model.\n\n"
        "Parameters\n----------\n"
        'name : str, default="a"\n    A name.\n'
        "size : int, default=None\n    A size.\n"
        "kind : {'x', 'y'}, default='x'\n    Two\n      lines.\n"
        "rate : float, default=0.25\n    Another rate.\n"
        "low, high : float, default=0.0, 0.5\n    Both ends.\n\n"
        "Attributes\n----------\nsize_ : int\n    A size."
    )
    assert Shared._declared["rate"].stated_default == "1e-8"


def test_a_default_may_be_shown_otherwise_and_a_type_be_a_table():
    @declared
    class Own:
        tol: float = parameter(NOT_NEGATIVE, default=1e-4, shown="1e-4", doc="How near.")
        alpha: float = parameter(NOT_NEGATIVE, default=0.0001, kind=one_of({"b": 0, "a": 1}), doc="How much.")

    assert {name: each.stated_default for name, each in Own._declared.items()} == {
        "tol": "1e-4",
        "alpha": "0.0001",
    }
    assert Own._declared["alpha"].kind == '{"b", "a"}'


def test_a_docstring_without_sections_and_none():
    @estimator
    class Short(First):
        """Short."""

    @estimator
    class Silent(First):
        pass

    assert Short.__doc__ == 'Short.\n\nParameters\n----------\nname : str, default="a"\n    A name.'
    assert Silent.__doc__ is None
    assert Silent("b").name == "b"


def test_the_constraints():
    assert Model._parameter_constraints == {
        "name": [str],
        "size": [int, None],
        "kind": [str],
        "rate": [NOT_NEGATIVE],
        "low": [BELOW_ONE],
        "high": [BELOW_ONE],
    }
    Model()._validate_params()
    with pytest.raises(InvalidParameterError, match=r"^The 'high' parameter of Model must be .* Got 1.0"):
        Model(high=1.0)._validate_params()


def test_mistakes_are_told_at_import():
    with pytest.raises(TypeError, match=r"Wrong\.size_ is annotated, and no parameter"):

        @declared
        class Wrong:
            size_: int

    with pytest.raises(TypeError, match="Mixed inherits from BaseEstimator, which is not declared"):

        @declared
        class Mixed(First, BaseEstimator):
            pass

    @declared
    class Undocumented:
        size: int = parameter(int, default=1)

    with pytest.raises(TypeError, match="size of Empty has no documentation"):

        @estimator
        class Empty(Undocumented):
            """Empty."""


@pytest.mark.parametrize(
    ("family", "shared"),
    [(ESTIMATORS[:3], MLPParameters), (ESTIMATORS[3:], KMeansParameters)],
    ids=["perceptrons", "k-means"],
)
def test_what_a_family_shares(family, shared):
    """One declaration is in every signature, constraint and docstring."""
    assert len(shared._declared) >= 5
    for kind in family:
        parameters = inspect.signature(kind).parameters
        for name, each in shared._declared.items():
            assert name in kind._parameter_constraints
            overridden = any(
                name in vars(base).get("_declared", {}) for base in kind.__mro__[:-1] if base is not shared
            )
            if not overridden:
                assert parameters[name].default == each.default
                assert kind._parameter_constraints[name] == list(each.allowed)
                assert " ".join(each.doc.split()) in " ".join(inspect.getdoc(kind).split())


def test_what_comes_first():
    names = [list(inspect.signature(kind).parameters)[:3] for kind in ESTIMATORS]
    assert names[:3] == [
        ["hidden_layer_sizes", "activation", "solver"],
        ["hidden_layer_sizes", "activation", "solver"],
        ["loss", "hidden_layer_sizes", "activation"],
    ]
    assert all(first[0] == "n_clusters" for first in names[3:])


@each_estimator
def test_copies(kind):
    model = kind(tol=0.25, n_threads=1)
    for other in (clone(model), copy.copy(model), copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert type(other) is kind
        assert other.get_params() == model.get_params()
        assert repr(other) == repr(model) == f"{kind.__name__}(n_threads=1, tol=0.25)"


class Mine(MLPClassifier):
    """A user's own class."""

    def __init__(self, *, alpha=1):
        super().__init__(alpha=alpha)


class Same(MLPClassifier):
    extra_: int


def test_a_users_subclass():
    assert Mine().get_params() == {"alpha": 1}
    assert (Mine(alpha=2).alpha, Mine().tol) == (2, 1e-4)
    assert clone(Mine(alpha=2)).alpha == 2
    assert Mine.__doc__ == "A user's own class."
    assert Same(alpha=2).get_params() == MLPClassifier(alpha=2).get_params()
    X = np.array([[0.0], [1.0]])
    Mine().set_params(alpha=2).partial_fit(X, [0, 1], classes=[0, 1])
    with pytest.raises(InvalidParameterError, match="'alpha' parameter of Mine"):
        Mine(alpha=-1).fit(X, [0, 1])


STATIC = """
import numpy as np
from fastnn import GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier, MLPRegressor

class Mine(MLPClassifier):
    extra_: int
    def __init__(self, *, alpha: float = 1) -> None:
        super().__init__(alpha=alpha)

class Same(MLPRegressor):
    extra_: int

MLPClassifier((10, 3), "relu", alpha=1, random_state=np.random.RandomState(0), n_iter_no_change=np.inf)
MLPClassifier(np.array([10]), batch_size=20, tol=np.float64(1))
MLPRegressor("poisson", 20, "tanh", dropout=0.5)
KMeans(3, init=np.zeros((3, 2)), n_init=3)
MiniBatchKMeans(3, nested=True)
GradKMeans(learning_rate=0.1, batch_size=None)
Mine(alpha=2)
Same(alpha=2)
reveal_type(MLPRegressor().alpha)  # note: float
reveal_type(KMeans().n_clusters)  # note: int
MLPClassifier(alhpa=1)  # error: alhpa
MLPClassifier(alpha="x")  # error: alpha
MLPClassifier((10,), "relu", "adam")  # error: positional
MLPRegressor((10,))  # error: Argument 1
KMeans(3, metrik="cosine")  # error: metrik
MiniBatchKMeans(copy_x=True)  # error: copy_x
GradKMeans(1, "random")  # error: positional
Mine(tol=1)  # error: tol
"""


def test_static_tools_see_the_parameters(tmp_path):
    """mypy checks names, types and positions, of a package in which scikit-learn has no types."""
    path = tmp_path / "user.py"
    path.write_text(STATIC)
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--hide-error-context", str(path)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    found = {}
    for line in said.stdout.splitlines():
        place, level, message = line.split(": ", 2)
        if '" defined in "' not in message:
            found.setdefault(int(place.rpartition(":")[2]), []).append((level, message))
    expected = {
        number: line.partition("  # ")[2].split(": ")
        for number, line in enumerate(STATIC.splitlines(), 1)
        if "  # " in line
    }
    assert found.keys() == expected.keys(), said.stdout + said.stderr
    for number, (level, message) in expected.items():
        assert [(level, message in text) for level, text in found[number]] == [(level, True)], found[number]


@each_estimator
def test_every_number_has_a_constraint(kind):
    for name, each in inspect.signature(kind).parameters.items():
        if isinstance(each.default, Real):
            assert kind._parameter_constraints[name], name
