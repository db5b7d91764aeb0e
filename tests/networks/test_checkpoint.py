"""States of a training by epochs, as the engine gives and takes them."""

import json

import numpy as np
import pytest

from fastnn.networks.checkpoint import TrainingState
from fastnn.networks.noise import NoisyRows
from fastnn.networks.solvers import STOCHASTIC_SOLVERS
from tests.networks.test_solvers import X, problem, solve


class Memory:
    """Keeps the state of each epoch; gives one to go on from."""

    def __init__(self, state=None):
        self.given, self.first, self.kept = state, None, {}

    def begin(self, state):
        self.first = state
        return self.given

    def after_epoch(self, n_epochs, state):
        self.kept[n_epochs] = state()


def through_json(state):
    return TrainingState(state.arrays, json.loads(json.dumps(state.values)))


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("name", STOCHASTIC_SOLVERS)
def test_from_every_state_training_ends_in_the_same(name, noisy, average):
    def training(keeper):
        inputs = NoisyRows(X, 0.1, np.random.default_rng(5)) if noisy else None
        task = problem(keeper=keeper, inputs=inputs)
        return task, solve(name, task, average=average)

    memory = Memory()
    task, solution = training(memory)
    assert list(memory.kept) == [1, 2, 3, 4]
    for n_epochs, state in [*memory.kept.items(), (5, solution.state)]:
        keeper = Memory(through_json(state))
        again, resumed = training(keeper)
        assert list(keeper.kept) == list(range(n_epochs + 1, 5))
        np.testing.assert_array_equal(again.network.parameters, task.network.parameters)
        assert resumed.progress == solution.progress
        assert (resumed.n_iter, resumed.loss) == (solution.n_iter, solution.loss)
        assert str(resumed.unfinished) == str(solution.unfinished)
        for ours, theirs in ((keeper.first, memory.first), (resumed.state, solution.state)):
            assert ours.values == theirs.values
            assert ours.arrays.keys() == theirs.arrays.keys()
            for array in ours.arrays:
                np.testing.assert_array_equal(ours.arrays[array], theirs.arrays[array])


def test_what_has_ended_by_its_rule_has_ended():
    memory = Memory()
    task = problem(keeper=memory, watch=lambda epoch: epoch.number == 2)
    solution = solve("adam", task)
    assert (solution.n_iter, list(memory.kept), solution.unfinished) == (3, [1, 2], None)
    again = problem(keeper=Memory(through_json(solution.state)))
    resumed = solve("adam", again)
    assert (resumed.n_iter, resumed.unfinished, resumed.has_converged) == (3, None, True)
    np.testing.assert_array_equal(again.network.parameters, task.network.parameters)


def test_a_state_is_a_copy():
    memory = Memory()
    solution = solve("adam", problem(keeper=memory))
    weights = [state.arrays["parameters"] for state in (memory.first, *memory.kept.values(), solution.state)]
    assert len({array.tobytes() for array in weights}) == len(weights) == 6


@pytest.mark.parametrize("n_done", [0, 2])
def test_an_interrupted_training_has_no_last_state(n_done):
    def interrupt(epoch):
        if epoch.number == n_done:
            raise KeyboardInterrupt

    memory = Memory()
    solution = solve("adam", problem(keeper=memory, watch=interrupt))
    assert solution.state is None
    assert list(memory.kept) == list(range(1, n_done + 1))
