"""Where modules are that had other names: so that models load that were pickled before they moved."""

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, cast

MOVED = {
    "fastnn.activations": "fastnn.tables.activations",
    "fastnn.dropout": "fastnn.tables.dropout",
    "fastnn.elementary": "fastnn.tables.elementary",
    "fastnn.estimators.base_kmeans": "fastnn.estimators.kmeans.base",
    "fastnn.estimators.base_mlp": "fastnn.estimators.mlp.base",
    "fastnn.estimators.grad_kmeans": "fastnn.estimators.kmeans.gradient",
    "fastnn.estimators.mini_batch_kmeans": "fastnn.estimators.kmeans.mini_batch",
    "fastnn.estimators.plus_plus": "fastnn.estimators.kmeans.plus_plus",
    "fastnn.estimators.schedules": "fastnn.networks.schedules",
    "fastnn.initializers": "fastnn.tables.initializers",
    "fastnn.losses": "fastnn.tables.losses",
    "fastnn.optimizers": "fastnn.tables.optimizers",
}


class MovedModules:
    """A finder and loader that gives a former name the module of today; asked after all others."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, cast(Any, MovedModules)) if name in MOVED else None

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """None: an empty module, as for most loaders."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        # What stands here afterwards is what an import gives.
        sys.modules[module.__name__] = import_module(MOVED[module.__name__])


def install() -> None:
    """Have former names imported."""
    if MovedModules not in sys.meta_path:
        sys.meta_path.append(MovedModules)
