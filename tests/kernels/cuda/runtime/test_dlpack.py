"""Arrays that are known to lie on a GPU by DLPack alone: used in place, and results of the same kind."""

import ctypes
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from fastnn import KMeans, MLPRegressor, kernels
from fastnn.kernels.shared.device_rows import dlpack_device, is_device_array

CUDA, MANAGED, HOST, PINNED = 2, 13, 1, 3

needs_package = pytest.mark.skipif(find_spec("numba_cuda") is None, reason="numba-cuda is not installed")
if find_spec("numba_cuda") is not None:
    from fastnn.kernels.cuda.runtime.compat import SIMULATED, cuda, imported

    on_hardware = not SIMULATED and cuda.is_available()
else:
    SIMULATED = on_hardware = False
# The producer's memory is the host's, which only the simulator takes for a device's.
simulated = pytest.mark.skipif(not SIMULATED, reason="not in the simulator")
hardware = pytest.mark.skipif(not on_hardware, reason="no GPU")

# Where DLTensor begins in a capsule of each name, and the kind of device in it.
_DEVICE_AT = {b"dltensor": 8, b"dltensor_versioned": 40}


def _said_to_be_on(capsule, kind):
    """The capsule, after the kind of device in it was changed."""
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    name = api.PyCapsule_GetName(capsule)
    address = api.PyCapsule_GetPointer(capsule, name)
    ctypes.c_int32.from_address(address + _DEVICE_AT[name]).value = kind
    return capsule


class Produced:
    """An array with DLPack and nothing else, as of a package with `from_dlpack`."""

    def __init__(self, array, kind=CUDA, *, number=0):
        self.array, self.kind, self.number, self.streams = array, kind, number, []
        self.shape, self.dtype = array.shape, array.dtype

    def __dlpack_device__(self):
        return self.kind, self.number

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        self.streams.append(stream)
        return _said_to_be_on(self.array.__dlpack__(max_version=max_version), self.kind)

    def __array_namespace__(self):
        return SimpleNamespace(from_dlpack=lambda other: Produced(np.from_dlpack(other)))


class OnlyDlpack:
    """An array of another package without its CUDA array interface."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)


class Spread:
    """An array on several devices, for which DLPack has no number."""

    def __dlpack_device__(self):
        raise BufferError("sharded")


def test_which_arrays_lie_on_a_gpu():
    X = np.eye(3)
    for kind, on_gpu in ((CUDA, True), (MANAGED, True), (HOST, False), (PINNED, False)):
        assert is_device_array(Produced(X, kind)) is on_gpu
        assert dlpack_device(Produced(X, kind, number=3)) == (3 if on_gpu else None)
    for array in (X, X.view(np.memmap), [1.0], None, Spread()):
        assert not is_device_array(array)
    assert kernels.device_number(None, (X, Produced(X, number=2))) == 2
    with pytest.raises(ValueError, match="arrays lie on 'cuda:2' and on 'cuda:1'"):
        kernels.device_number(None, (Produced(X, number=2), Produced(X, number=1)))
    with pytest.raises(ValueError, match="device is 'cuda:1', and an array lies on 'cuda:0'"):
        kernels.device_number("cuda:1", (Produced(X),))


def test_a_tensor_that_requires_a_gradient_is_seen():
    class Tensor(Produced):
        @property
        def __cuda_array_interface__(self):
            raise RuntimeError("Can't get __cuda_array_interface__ on Variable that requires grad.")

    assert is_device_array(Tensor(np.eye(2)))


def test_tensors_on_the_host_are_on_no_gpu():
    torch = pytest.importorskip("torch")
    X = torch.arange(6.0).reshape(3, 2)
    for tensor in (X, X.clone().requires_grad_(), torch.empty(2, device="meta"), X.to_sparse()):
        assert not is_device_array(tensor)
        assert kernels.device_number(None, (tensor,)) is None
    assert KMeans(2, random_state=0).fit(X).labels_.size == 3


def test_the_question_imports_nothing_of_cuda(monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("fastnn.kernels.cuda", "cuda"))]:
        monkeypatch.delitem(sys.modules, name)
    assert is_device_array(Produced(np.eye(2)))
    assert not any(name.startswith(("fastnn.kernels.cuda", "cuda")) for name in sys.modules)


@needs_package
@simulated
@pytest.mark.gpu
def test_memory_is_shared():
    X = np.arange(24.0).reshape(4, 6)
    for given in (X, X[1:, 2:], X.T, X[:, :1], X[::2], X.astype(np.float32), np.arange(5), np.arange(4) > 2):
        producer = Produced(given)
        array = imported(producer)
        np.testing.assert_array_equal(array.copy_to_host(), given)
        assert array.dtype == given.dtype
        assert array.strides == given.strides
        given[0] = 1
        np.testing.assert_array_equal(array.copy_to_host(), given)
        # The default stream, for which the producer has to wait.
        assert producer.streams == [1]


@needs_package
@simulated
@pytest.mark.gpu
def test_kernels_use_it_in_place():
    X = np.random.default_rng(0).normal(size=(9, 3))
    C = X[:2].copy()
    labels, distances = kernels.assign(Produced(X), C)
    assert type(labels) is type(distances) is Produced
    np.testing.assert_array_equal(labels.array, kernels.assign(X, C)[0])
    sums = np.full((2, 3), np.nan)
    out = Produced(sums), Produced(np.zeros(2))
    assert kernels.update_centers(Produced(X), labels, 2, out=out) is not None
    np.testing.assert_allclose(sums, kernels.update_centers(X, labels.array, 2)[0])
    sums.flags.writeable = False
    with pytest.raises(ValueError, match="is read-only"):
        kernels.update_centers(Produced(X), labels, 2, out=out)


@needs_package
@simulated
@pytest.mark.gpu
def test_estimators_give_the_same_kind():
    X = np.random.default_rng(1).normal(size=(20, 2))
    model = KMeans(2, random_state=0, max_iter=2, tol=0)
    labels = model.fit_predict(Produced(X))
    assert type(labels) is Produced
    np.testing.assert_array_equal(labels.array, model.fit(X).labels_)
    distances = model.transform(Produced(np.asfortranarray(X)))
    np.testing.assert_allclose(distances.array, model.transform(X))
    mlp = MLPRegressor(hidden_layer_sizes=(2,), max_iter=1, random_state=0)
    with pytest.warns(match="Maximum iterations"):
        mlp.fit(Produced(X), Produced(X[:, 0].copy()))
    np.testing.assert_allclose(mlp.predict(Produced(X)).array, mlp.predict(X))


@needs_package
@hardware
@pytest.mark.gpu
@pytest.mark.parametrize("package", ["torch", "cupy", "jax"])
def test_a_package_of_arrays(package):
    module = pytest.importorskip(package)
    X = np.random.default_rng(2).normal(size=(500, 4)).astype(np.float32)
    if package == "torch":
        if not module.cuda.is_available():
            pytest.skip("a PyTorch without CUDA")
        there = module.as_tensor(X, device="cuda")
    else:
        there = module.numpy.asarray(X) if package == "jax" else module.asarray(X)
    if dlpack_device(there) is None:
        pytest.skip(f"{package} is on no GPU")

    expected = kernels.assign(X, X[:3])[0]
    assert type(kernels.assign(there, X[:3])[0]) is type(there)
    np.testing.assert_array_equal(kernels.to_host(kernels.assign(OnlyDlpack(there), X[:3])[0]), expected)
    with cuda.gpus[0]:
        address = imported(there).device_ctypes_pointer.value
    pointer = {"torch": "data_ptr", "jax": "unsafe_buffer_pointer"}.get(package)
    assert address == (there.data.ptr if pointer is None else getattr(there, pointer)())
