"""What has to be installed for a GPU: the packages of the extra `cuda`, in versions that fit each other."""

INSTALL = "pip install '.[cuda]'"


def missing(package: str) -> str:
    """What to tell where a package of the extra cannot be found."""
    return f"a CUDA device needs the package {package}: {INSTALL}, in a checkout of fastnn"
