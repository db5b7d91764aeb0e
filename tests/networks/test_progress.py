"""Curves and the stopping rule."""

import numpy as np

from fastnn.networks.progress import Progress, Validation


def course(progress, losses, tol=0.1, n=10):
    """The count after each epoch with one of these losses."""
    counts = []
    for loss in losses:
        progress.record_epoch(loss, n)
        progress.compare_loss(loss, tol)
        counts.append(progress.no_improvement_count)
    return counts


def test_losses_count_until_one_is_better_by_tol():
    progress = Progress.begin(scored=False)
    assert course(progress, [1.0, 0.95, 0.85, 0.7, 2.0, np.inf]) == [0, 1, 0, 0, 1, 2]
    assert progress.best_loss == 0.7
    assert (progress.n_iter, progress.t) == (6, 60)
    assert progress.losses == progress.loss_curve
    assert progress.validation_scores is None
    assert not progress.has_best


def test_scores_count_until_one_is_better_by_tol():
    progress = Progress.begin(scored=True)
    found = [(progress.compare_score(s, 0.1), progress.no_improvement_count) for s in (0.5, 0.55, 0.7, 0.1)]
    assert found == [(True, 0), (True, 1), (True, 0), (False, 1)]
    assert progress.best_validation_score == 0.7
    assert progress.has_best


def test_validation_that_decides_nothing_is_recorded():
    progress = Progress.begin(scored=False, validated=True)
    for score in (np.nan, 0.5, -1.0, 0.5):
        progress.record_validation(Validation(score, 1 - score))
    np.testing.assert_array_equal(progress.validation_scores, [np.nan, 0.5, -1.0, 0.5])
    np.testing.assert_array_equal(progress.validation_losses, [np.nan, 0.5, 2.0, 0.5])
    assert (progress.best_loss, progress.best_validation_score, progress.best_epoch) == (np.inf, 0.5, 1)


def test_no_epoch_is_the_best_where_none_has_a_score():
    assert Progress.begin(scored=False).best_epoch is None
    progress = Progress.begin(scored=True)
    progress.record_validation(Validation(np.nan, np.nan))
    assert progress.best_epoch is None


def test_a_score_of_nan_is_neither_better_nor_worse():
    progress = Progress.begin(scored=True)
    assert not progress.compare_score(np.nan, 0.1)
    assert progress.no_improvement_count == 0
    assert not progress.has_best


def test_more_epochs_than_allowed_have_to_be_no_better():
    progress = Progress(1.0, None, no_improvement_count=3)
    assert not progress.has_stalled(3)
    assert progress.has_stalled(2)
    assert not progress.has_stalled(np.inf)
    progress.go_on()
    assert not progress.has_stalled(0)


def test_a_run_goes_on_from_another():
    progress = Progress(0.5, None, 1, 40, [1.0, 0.5])
    assert course(progress, [0.45, 0.3]) == [2, 0]
    assert progress.loss_curve == [1.0, 0.5, 0.45, 0.3]
    assert progress.losses == [0.45, 0.3]
    assert (progress.n_iter, progress.t) == (2, 60)


def test_epochs_can_be_taken_back():
    progress = Progress(None, 0.5, 0, 40, [1.0, 0.5], [0.4, 0.5], validation_losses=[2.0, 1.0])
    for loss in (0.4, np.inf, np.inf):
        progress.record_epoch(loss, 20)
        progress.compare_score(-loss, 0.0)
        progress.record_validation(Validation(-loss, loss))
    progress.forget(2, 20)
    assert progress.loss_curve == [1.0, 0.5, 0.4]
    assert progress.validation_scores == [0.4, 0.5, -0.4]
    assert progress.validation_losses == [2.0, 1.0, 0.4]
    assert (progress.n_iter, progress.t) == (1, 60)
    progress.forget(0, 20)
    assert progress.n_iter == 1
