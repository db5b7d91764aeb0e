"""The engines of k-means: Lloyd's iterations, gradient descent, and the seeding of both."""
