"""The k-means estimators."""

from fastnn.estimators.kmeans.gradient import GradKMeans as GradKMeans
from fastnn.estimators.kmeans.kmeans import KMeans as KMeans
from fastnn.estimators.kmeans.mini_batch import MiniBatchKMeans as MiniBatchKMeans
