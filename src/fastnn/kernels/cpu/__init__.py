"""Kernels for the processor: a package a family, each with ``__all__``, what engines use of it."""
