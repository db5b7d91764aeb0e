"""What layers a fitted network has, and how many parameters: as a table of text, and of HTML in notebooks."""

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from sklearn.utils.validation import check_is_fitted

from fastnn.estimators.mlp.layers import layers_with_bias
from fastnn.estimators.mlp.many import refuse_ensemble
from fastnn.networks.tied import is_tied

if TYPE_CHECKING:
    from fastnn.estimators.mlp.base import BaseMLP

_HEADINGS = ("layer", "units", "activation", "bias", "parameters")

_HTML = """
    <div class="estimator-table">
        <details>
            <summary>Layers {sizes}: {total} parameters</summary>
            <table class="parameters-table">
                <tbody>
                    {rows}
                </tbody>
            </table>
        </details>
    </div>
"""


class FittedLayer(NamedTuple):
    """A layer of units."""

    name: str
    n_units: int
    activation: str  # "" of the inputs
    has_bias: bool
    n_parameters: int

    def cells(self) -> tuple[str, ...]:
        """What stands in the columns of a table."""
        if not self.activation:
            return self.name, f"{self.n_units:,}", "", "", ""
        bias = "yes" if self.has_bias else "no"
        return self.name, f"{self.n_units:,}", self.activation, bias, f"{self.n_parameters:,}"


class SummaryMethods:
    """What a network says of its layers."""

    def summary(self, *, file=None):
        """Print a table of the layers, with their sizes and numbers of parameters.

        Parameters
        ----------
        file : file-like object, default=None
            Where it is written to, as of ``print``. None stands for the standard output.

        Returns
        -------
        None
            The table is printed.

        Raises
        ------
        NotFittedError
            There are no weights yet, of ``fit``, ``initialize`` or ``from_weights``.
        ValueError
            The estimator is an ensemble.

        Notes
        -----
        Biases count where the network has them (``use_bias``); weights that a decoder shares with its encoder
        (``tied_weights``) count once, with the encoder.
        """
        layers = fitted_layers(self)
        rows = [_HEADINGS, *(layer.cells() for layer in layers)]
        rows.append(("total", "", "", "", f"{_total(layers):,}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [_line(row, widths) for row in rows]
        rule = "-" * len(lines[0])
        print("\n".join([type(self).__name__, lines[0], rule, *lines[1:-1], rule, lines[-1]]), file=file)

    def _get_params_html(self, *args: Any, **options: Any) -> Any:
        """scikit-learn's table of the parameters, and after it one of the layers, once there are any.

        It is what the HTML of an estimator and that of a pipeline around it both ask for.
        """
        shown = super()._get_params_html(*args, **options)  # type: ignore[misc]
        parameters = shown._html_repr
        shown._html_repr = lambda: parameters() + _layers_html(self)
        return shown


def fitted_layers(estimator: Any) -> list[FittedLayer]:
    """The layers of a fitted network, that of the inputs first.

    Raises
    ------
    NotFittedError
        There are no weights yet.
    ValueError
        It is an ensemble.
    """
    model = cast("BaseMLP", estimator)
    refuse_ensemble(model, "summary")
    check_is_fitted(model, "coefs_")
    coefs, intercepts = model._checked_parameters()
    n_hidden = len(coefs) - 1
    names = [*(f"hidden {number}" for number in range(1, n_hidden + 1)), "output"]
    activations = [*model._activation_names(n_hidden), model.out_activation_]
    is_shared = getattr(model, "tied_weights", False) and is_tied(coefs)
    layers = [FittedLayer("input", len(coefs[0]), "", False, 0)]
    for at, has_bias in enumerate(layers_with_bias(model, len(coefs))):
        own = 0 if is_shared and 2 * at >= len(coefs) else coefs[at].size
        n_units = intercepts[at].size
        n_parameters = own + (n_units if has_bias else 0)
        layers.append(FittedLayer(names[at], n_units, activations[at], has_bias, n_parameters))
    return layers


def _total(layers: list[FittedLayer]) -> int:
    return sum(layer.n_parameters for layer in layers)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """A row of the table: numbers to the right, all else to the left."""
    is_number = [heading in ("units", "parameters") for heading in _HEADINGS]
    return "  ".join(
        cell.rjust(width) if right else cell.ljust(width)
        for cell, width, right in zip(cells, widths, is_number, strict=True)
    ).rstrip()


def _layers_html(model: Any) -> str:
    """The table of the layers; nothing for a network that has none, or whose parameters are of another."""
    try:
        layers = fitted_layers(model)
    except Exception:  # an estimator is shown in whatever state it is
        return ""
    rows = [_html_row("th", _HEADINGS), *(_html_row("td", layer.cells()) for layer in layers)]
    sizes = "-".join(str(layer.n_units) for layer in layers)
    return _HTML.format(sizes=sizes, total=f"{_total(layers):,}", rows="\n".join(rows))


def _html_row(tag: str, cells: Sequence[str]) -> str:
    written = "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells)
    return f'<tr class="default">{written}</tr>'
