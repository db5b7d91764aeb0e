"""What the tables of docs/quality.md compare: options of fastnn's networks with its defaults."""

from typing import Any, NamedTuple


class Option(NamedTuple):
    """Parameters beside the defaults, of a classifier and of a regressor; None where there are no such."""

    of_classifiers: dict[str, Any] | None
    of_regressors: dict[str, Any] | None

    def parameters(self, *, classifies: bool) -> dict[str, Any] | None:
        return self.of_classifiers if classifies else self.of_regressors

    def __str__(self) -> str:
        """As a user writes them."""
        parameters = self.of_classifiers or self.of_regressors or {}
        return ", ".join(f"{name}={value!r}" for name, value in parameters.items()).replace("'", '"')


def both(**parameters: Any) -> Option:
    return Option(parameters, parameters)


def classifiers(**parameters: Any) -> Option:
    return Option(parameters, None)


def regressors(**parameters: Any) -> Option:
    return Option(None, parameters)


class Table(NamedTuple):
    """Options that are alternatives, and what a reader has to know of them."""

    title: str
    text: str
    options: tuple[Option, ...]


TABLES = (
    Table(
        "Solvers",
        "Where a rate is given, it is one that suits the solver; the others have the default, 0.001.",
        (
            both(solver="sgd", learning_rate_init=0.05),
            both(solver="lbfgs"),
            regressors(solver="lm", hidden_layer_sizes=(10,)),
            both(solver="adamw"),
            both(solver="amsgrad"),
            both(solver="nadam"),
            both(solver="rmsprop"),
            both(solver="lion", learning_rate_init=3e-4),
        ),
    ),
    Table(
        "Schedules",
        "All with `tol=0`, so that all epochs are done; with the first rate, and with one that is ten times "
        "too high.",
        (
            both(tol=0.0),
            both(learning_rate="cosine", tol=0.0),
            both(learning_rate="one_cycle", tol=0.0),
            both(learning_rate="exponential", tol=0.0),
            both(learning_rate="coslog4", tol=0.0),
            both(learning_rate_init=0.03, tol=0.0),
            both(learning_rate_init=0.03, learning_rate="cosine", tol=0.0),
            both(learning_rate_init=0.03, learning_rate="one_cycle", tol=0.0),
            both(learning_rate_init=0.03, learning_rate="exponential", tol=0.0),
            both(learning_rate_init=0.03, learning_rate="coslog4", tol=0.0),
        ),
    ),
    Table(
        "Regularisation",
        "The default has `alpha=0.0001`, which is next to nothing.",
        (
            both(alpha=0.1),
            both(alpha=1.0),
            both(l1_alpha=0.01),
            both(solver="adamw", weight_decay=0.3, alpha=0.0),
            both(dropout=0.2),
            both(dropout=0.5),
            both(early_stopping=True),
            both(early_stopping=True, n_iter_no_change=50),
            both(early_stopping=True, learning_rate_init=0.01),
            classifiers(label_smoothing=0.1),
            classifiers(class_weight="balanced"),
            both(average=0.99),
            both(max_grad_norm=1.0),
            both(solver="adamw", learning_rate="cosine", alpha=0.0, tol=0.0),
            both(ensemble=8),
        ),
    ),
    Table(
        "Sizes",
        "The default is one hidden layer of 100 units.",
        (
            both(hidden_layer_sizes=(10,)),
            both(hidden_layer_sizes=(30,)),
            both(hidden_layer_sizes=(300,)),
            both(hidden_layer_sizes=(1000,)),
            both(hidden_layer_sizes=(100, 100)),
            both(hidden_layer_sizes=(100, 100, 100)),
        ),
    ),
)
