"""Figures of fitted estimators, by scikit-learn's conventions. Matplotlib is loaded when one is drawn."""
