"""Benchmarks: an asv suite (``bench_*.py``), and ``peers.py``, which measures fastnn beside its peers."""
