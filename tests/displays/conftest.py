"""Fixtures of the displays."""

import matplotlib
import pytest


@pytest.fixture(autouse=True)
def pyplot():
    """Figures that no window shows; none is left behind."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")
