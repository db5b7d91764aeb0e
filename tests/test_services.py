"""Servers and pools that fork their workers."""

import re
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.forking import COMMON, run, serving

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tried on Linux alone")


def test_a_pool_of_processes_lives():
    """multiprocessing's by fork, and joblib's of that name in a grid search, after threads were used."""
    code = """
    import multiprocessing, joblib
    from sklearn.model_selection import GridSearchCV
    from fastnn import KMeans, MLPRegressor
    def work(_):
        return fit()
    def nothing(): pass
    train_lightgbm()
    signal.alarm(60)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(len(set(pool.map(work, range(4)) + [fit()])))
    search = GridSearchCV(KMeans(n_init=1, max_iter=3, random_state=0), {"n_clusters": [2, 4]}, cv=2)
    with joblib.parallel_backend("multiprocessing", n_jobs=2):
        print(search.fit(X).best_params_["n_clusters"])
    """
    assert run(code) == "1\n4"


CELERY = """
import os
from celery import Celery

{common}
if "-m" in sys.orig_argv:  # the worker, not who asks it
    train_lightgbm()
    import fastnn
app = Celery("tasks", broker="filesystem://", backend="file://" + os.path.abspath("results"))
app.conf.broker_transport_options = {{
    "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control",
    "polling_interval": 0.05,
}}
app.conf.worker_enable_remote_control = False
@app.task
def fit_task():
    return os.getppid(), fit()
if __name__ == "__main__":
    tasks = [fit_task.delay() for _ in range(4)]
    results = [task.get(timeout=50, interval=0.05) for task in tasks]
    want = fit()
    print({{parent for parent, _ in results}}, {{inertia == want for _, inertia in results}})
"""


def test_celerys_pool_of_forked_workers(tmp_path):
    """The application has used LightGBM before Celery forks."""
    (tmp_path / "tasks.py").write_text(CELERY.format(common=COMMON))
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    command = ("celery", "-A", "tasks", "worker", "--pool", "prefork", "-c", "2", "--without-mingle")
    with serving(tmp_path, *command, "--without-gossip", "--without-heartbeat") as (process, log):
        asked = subprocess.run(
            [sys.executable, "tasks.py"], cwd=tmp_path, timeout=90, capture_output=True, text=True
        )
    assert asked.stdout.strip() == f"{{{process.pid}}} {{True}}", asked.stderr + log.read_text()


GUNICORN = """
import lightgbm
import fastnn
{common}
{before}
def app(environ, start_response):
    body = f"{{os.getpid()}} {{fit()}} {{uses_threads()}}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


@pytest.mark.parametrize("preload", [True, False], ids=["preloaded", "loaded by the worker"])
def test_gunicorns_workers_answer(preload, tmp_path):
    """With --preload the application uses LightGBM before the fork; without, the master loads nothing."""
    code = GUNICORN.format(common=COMMON, before="train_lightgbm()" if preload else "")
    (tmp_path / "service.py").write_text(code)
    command = ["gunicorn", "service:app", "--bind", "127.0.0.1:0", "--worker-tmp-dir", str(tmp_path)]
    with serving(tmp_path, *command, *["--preload"] * preload) as (process, log):
        address = None
        deadline = time.monotonic() + 60
        while address is None and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
            address = re.search(r"Listening at: (http://127\.0\.0\.1:\d+)", log.read_text())
        assert address, log.read_text()
        answers = [urllib.request.urlopen(address[1], timeout=40).read().decode().split() for _ in range(2)]
    assert answers[1] == answers[0]
    pid, inertia, parallel = answers[0]
    assert int(pid) != process.pid
    assert parallel == str(not preload)
    assert inertia == run("print(fit())")
