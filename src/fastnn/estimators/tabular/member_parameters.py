"""How many networks for a table are trained, and on which rows: the parameters."""

from numbers import Integral

from sklearn.utils._param_validation import Interval

from fastnn.estimators.declaration import AT_LEAST_ONE, declared, parameter


@declared
class MemberParameters:
    """How many networks a fit trains."""

    n_cv: int = parameter(
        AT_LEAST_ONE,
        default=1,
        doc="""
        1 holds out ``validation_fraction`` of the rows. `k` above 1 divides them into `k` folds, drawn at
        random (stratified for classes), and trains a network for each fold on the rows of the others: all
        of them predict together, and ``out_of_fold_`` has what each made of its own fold. `X_val` needs 1.
        """,
    )
    n_refit: int = parameter(
        Interval(Integral, 0, None, closed="left"),
        default=0,
        doc="""
        Networks that are trained on all rows once the others are, up to the epoch whose validation scores
        have the best mean, and that predict in their place; each stands for ``ensemble`` of them. It does not
        go with `X_val`.
        """,
    )
    ensemble: int | None = parameter(
        AT_LEAST_ONE,
        None,
        default=None,
        kind="int",
        doc="""
        Networks that are trained on each set of rows, from different first parameters, where there would be
        one. With one of these three parameters there are many networks, in ``estimators_``: they are trained
        side by side, one on each core, with the same result for any number of threads, and the mean of their
        probabilities, or of their predictions, counts.
        """,
    )
