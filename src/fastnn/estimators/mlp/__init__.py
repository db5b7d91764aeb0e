"""Multi-layer perceptrons."""

from fastnn.estimators.mlp.autoencoder import Autoencoder as Autoencoder
from fastnn.estimators.mlp.classifier import MLPClassifier as MLPClassifier
from fastnn.estimators.mlp.regressor import MLPRegressor as MLPRegressor
