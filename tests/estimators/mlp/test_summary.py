"""What a network says of its layers, as text and as HTML."""

import io
import re
import warnings

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr

from fastnn import Autoencoder, MLPClassifier, MLPRegressor

X = np.random.default_rng(0).normal(size=(40, 7))
y = np.arange(40) % 3

TABLE = """\
MLPClassifier
layer     units  activation  bias  parameters
---------------------------------------------
input         7
hidden 1  1,200  relu        no         8,400
hidden 2      4  tanh        yes        4,804
output        3  softmax     yes           15
---------------------------------------------
total                                  13,219
"""


def fitted(kind=MLPClassifier, **parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return kind(**{"max_iter": 1, "activation": "tanh", "random_state": 0, **parameters}).fit(X, y)


@pytest.fixture(scope="module")
def network():
    return fitted(
        hidden_layer_sizes=(1200, 4),
        activation=("relu", "tanh"),
        use_bias=(False, True, True),
        relu_grad_at_zero=1,
    )


def text_of(model):
    file = io.StringIO()
    assert model.summary(file=file) is None
    return file.getvalue()


def total(model):
    return int(text_of(model).split()[-1].replace(",", ""))


def test_the_table(network, capsys):
    assert network.summary() is None
    assert capsys.readouterr().out == TABLE
    assert text_of(network) == TABLE
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor, Autoencoder])
@pytest.mark.parametrize("hidden", [(5,), (6, 3), (4, 3, 2)])
def test_all_parameters_are_counted(kind, hidden):
    model = fitted(kind, hidden_layer_sizes=hidden)
    assert total(model) == sum(array.size for array in (*model.coefs_, *model.intercepts_))
    without = fitted(kind, hidden_layer_sizes=hidden, use_bias=False)
    assert total(without) == sum(W.size for W in without.coefs_)


def test_no_hidden_layer():
    model = MLPRegressor.from_weights([np.ones((2, 1))], [[0.0]])
    assert [line.split()[:2] for line in text_of(model).splitlines()[3:5]] == [
        ["input", "2"],
        ["output", "1"],
    ]
    assert total(model) == 3


def test_weights_that_are_shared_count_once():
    tied = fitted(Autoencoder, hidden_layer_sizes=(5, 2), tied_weights=True)
    assert total(tied) == 7 * 5 + 5 * 2 + (5 + 2 + 5 + 7)
    apart = clone(tied).set_params(tied_weights=False).fit
    with pytest.warns(ConvergenceWarning):
        assert total(apart(X)) == 2 * (7 * 5 + 5 * 2) + (5 + 2 + 5 + 7)
    # Once somebody has replaced one of a pair, both count.
    tied.coefs_[0] = 2 * tied.coefs_[0]
    assert total(tied) == 2 * (7 * 5 + 5 * 2) + (5 + 2 + 5 + 7)


def test_before_a_fit_and_after_initialize():
    model = MLPClassifier((5,))
    with pytest.raises(NotFittedError):
        model.summary()
    assert total(model.initialize(X, y)) == 7 * 5 + 5 + 5 * 3 + 3


def test_a_table_of_another_network_is_refused(network):
    model = clone(network).set_params(max_iter=1)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    before = dict(vars(model))
    model.set_params(use_bias=(True, False))
    with pytest.raises(ValueError, match="use_bias has 2 values"):
        model.summary()
    assert "Layers" not in model._repr_html_()  # which is shown all the same
    assert vars(model) == before | {"use_bias": (True, False)}


def table(html):
    """The heading, and the cells of each row, of the tables of layers."""
    found = re.findall(r"<summary>Layers (.*?)</summary>.*?<tbody>(.*?)</tbody>", html, flags=re.DOTALL)
    return [
        (heading, [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in rows.split("</tr>")[:-1]])
        for heading, rows in found
    ]


def test_html(network):
    expected = [
        ["layer", "units", "activation", "bias", "parameters"],
        ["input", "7", "", "", ""],
        ["hidden 1", "1,200", "relu", "no", "8,400"],
        ["hidden 2", "4", "tanh", "yes", "4,804"],
        ["output", "3", "softmax", "yes", "15"],
    ]
    for html in (
        network._repr_html_(),
        estimator_html_repr(network),
        network._repr_mimebundle_()["text/html"],
    ):
        assert table(html) == [("7-1200-4-3: 13,219 parameters", expected)]
        # What scikit-learn shows is still there.
        assert "<summary>Parameters</summary>" in html
        assert html.count("<div") == html.count("</div>")
    parameters = network._get_params_html()
    assert parameters["hidden_layer_sizes"] == (1200, 4)
    assert "use_bias" in parameters.non_default


def test_html_of_what_is_around(network):
    pipeline = make_pipeline(StandardScaler(), network)
    assert len(table(pipeline._repr_html_())) == 1
    assert table(make_pipeline(StandardScaler(), clone(network))._repr_html_()) == []
    search = GridSearchCV(clone(network), {"alpha": [0.1]}, cv=2)
    assert table(search._repr_html_()) == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search.fit(X, y)
    assert "MLPClassifier" in search._repr_html_()


def test_html_before_a_fit_is_scikit_learns(network, monkeypatch):
    html = MLPClassifier()._repr_html_()
    assert table(html) == []
    with config_context(display="text"):
        assert not hasattr(network, "_repr_html_")


def test_html_is_escaped():
    class Mischief(MLPRegressor):
        def _activation_names(self, n_hidden):
            return ("<script>alert(1)</script>",) * n_hidden

    model = Mischief.from_weights([np.ones((2, 2)), np.ones((2, 1))], [[0.0, 0], [0.0]])
    model.out_activation_ = '"><img src=x>'
    html = model._repr_html_()
    assert "<script>alert" not in html
    assert "<img" not in html
    (_, rows) = table(html)[0]
    assert rows[2][2] == "&lt;script&gt;alert(1)&lt;/script&gt;"


def test_a_model_that_is_broken_is_shown(network):
    model = MLPRegressor.from_weights([np.ones((2, 1))], [[0.0]])
    model.coefs_ = "broken"
    assert "MLPRegressor" in model._repr_html_()
    assert table(model._repr_html_()) == []
