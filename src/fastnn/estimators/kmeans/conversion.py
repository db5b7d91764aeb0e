"""k-means estimators as scikit-learn's, and the other way round."""

from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastnn.estimators.counterparts import check_counterpart, class_there, copy_attributes, shared_parameters
from fastnn.kernels.shared.arrays import plain

if TYPE_CHECKING:
    from fastnn.estimators.kmeans.base import BaseKMeans

# Attributes that say the same in both packages, and those that mini-batches go on from.
_SHARED = ("n_features_in_", "feature_names_in_", "labels_", "inertia_", "n_iter_")
_OF_BATCHES = ("n_steps_", "_n_since_last_reassign", "_batch_size", "_random_state")


class KMeansToSklearn:
    """What makes scikit-learn's estimator of centres."""

    # Full name of scikit-learn's class.
    _counterpart: ClassVar[str]

    def to_sklearn(self):
        """Make scikit-learn's fitted estimator with the same centres.

        It predicts the same. Parameters that are unknown there, or have values that are, are left at
        scikit-learn's defaults. A ``MiniBatchKMeans`` goes on with ``partial_fit`` as this one would; of a
        ``GradKMeans`` comes a ``KMeans``, which would fit by Lloyd's iterations.

        Returns
        -------
        estimator : sklearn.cluster.KMeans or sklearn.cluster.MiniBatchKMeans
            The latter of a ``MiniBatchKMeans``, else the former. It shares no arrays with this one. Labels
            may differ where two centres are equally far but for rounding.

        Raises
        ------
        NotFittedError
            There are no centres yet.
        ValueError
            ``metric="cosine"``: scikit-learn has no spherical k-means.
        """
        from sklearn.utils._openmp_helpers import _openmp_effective_n_threads

        model = cast("BaseKMeans", self)
        check_is_fitted(model)
        if model.metric != "euclidean":
            raise ValueError(f"scikit-learn has no k-means with metric={model.metric!r}.")
        kind = class_there(type(self))
        twin = kind(**shared_parameters(model, kind))
        copy_attributes(_SHARED, model, twin)
        twin.cluster_centers_ = model._centers().copy()
        twin._n_features_out = len(twin.cluster_centers_)
        twin._n_threads = _openmp_effective_n_threads()
        if hasattr(model, "_counts"):
            copy_attributes(_OF_BATCHES, model, twin)
            twin._counts = model._counts.astype(twin.cluster_centers_.dtype)
        return twin


class KMeansFromSklearn:
    """What makes an estimator of scikit-learn's."""

    _counterpart: ClassVar[str]

    @classmethod
    def from_sklearn(cls, estimator):
        """Make a fitted estimator of scikit-learn's.

        Parameters
        ----------
        estimator : sklearn.cluster.KMeans or sklearn.cluster.MiniBatchKMeans
            Fitted; its parameters are those of the model.

        Returns
        -------
        model : object
            With the same centres and labels; it shares no arrays with `estimator`. A ``MiniBatchKMeans`` goes
            on with ``partial_fit`` as `estimator` would.

        Raises
        ------
        TypeError
            It is not an estimator of scikit-learn's of the same name.
        NotFittedError
            It is not fitted.
        """
        check_counterpart(estimator, class_there(cls), "cluster_centers_")
        model = cast(Any, cls)(**shared_parameters(estimator, cls))
        copy_attributes(_SHARED, estimator, model)
        model.cluster_centers_ = estimator.cluster_centers_
        model.cluster_centers_ = model._centers().copy()
        if hasattr(estimator, "_counts"):
            copy_attributes(_OF_BATCHES, estimator, model)
            model._counts = plain(estimator._counts, np.float64).copy()
        return model
