"""Fitted models in other formats. Once this is imported, skl2onnx, if installed, finds the estimators."""

from fastnn.convert.onnx_model import to_onnx
from fastnn.convert.registration import register

__all__ = ["to_onnx"]

register()
