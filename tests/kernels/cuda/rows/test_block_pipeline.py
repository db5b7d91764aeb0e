"""The order of what the pipeline of blocks does, on a machine that puts off whatever it may."""

from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

if find_spec("numba_cuda") is None:
    pytest.skip("numba-cuda is not installed", allow_module_level=True)

from fastnn.kernels.cuda.rows import block_pipeline
from fastnn.kernels.cuda.rows.block_pipeline import BlockPipeline


class Stream:
    """Work in order, which is done when somebody waits for it; of an eager stream at once, if it may be.

    An entry is a function; or, to be waited for, the event of another stream.
    """

    def __init__(self, eager):
        self.eager, self.queue, self.done = eager, [], 0

    def add(self, entry):
        self.queue.append(entry)
        if self.eager:
            self.reach(len(self.queue))

    def reach(self, point):
        """Do all entries before a point."""
        while self.done < point:
            entry = self.queue[self.done]
            self.done += 1
            if isinstance(entry, tuple):
                stream, at = entry
                stream.reach(at)
            else:
                entry()

    def synchronize(self):
        self.reach(len(self.queue))


class Machine:
    """A device with a stream for kernels and one for copies, either of which may be early or late."""

    def __init__(self, early_copies, early_kernels):
        self.copies, self.kernels = Stream(early_copies), Stream(early_kernels)
        self.log = []

    def event(self):
        machine = self

        class Event:
            at = None

            def record(self, stream=None):
                stream = stream or machine.kernels
                self.at = stream, len(stream.queue)

            def wait(self, stream=None):
                if self.at is not None:
                    (stream or machine.kernels).add(self.at)

            def synchronize(self):
                if self.at is not None:
                    self.at[0].reach(self.at[1])

        return Event()

    def device_array(self, shape, dtype):
        return DeviceArray(np.full(shape, np.nan, dtype), self)

    def pinned_array(self, shape, dtype):
        return np.full(shape, np.nan, dtype)


class DeviceArray:
    def __init__(self, memory, machine):
        self.memory, self.machine = memory, machine

    def __getitem__(self, rows):
        return DeviceArray(self.memory[rows], self.machine)

    def copy_to_device(self, host, stream):
        self.machine.log.append("copy")
        stream.add(lambda: np.copyto(self.memory, host))


# Copies early or not, kernels early or not.
TIMES = {"all late": (False, False), "early copies": (True, False), "early kernels": (False, True)}


@pytest.fixture(params=TIMES.values(), ids=TIMES)
def machine(request, monkeypatch):
    machine = Machine(*request.param)
    monkeypatch.setattr(block_pipeline, "event", machine.event)
    monkeypatch.setattr(block_pipeline, "copy_stream", lambda ordinal: machine.copies)
    monkeypatch.setattr(block_pipeline, "cuda", machine)
    monkeypatch.setattr(block_pipeline, "on_device", lambda ordinal: nullcontext())
    return machine


DATA = np.arange(46.0).reshape(23, 2)


def fill(begin, end, targets):
    targets[0][...] = DATA[begin:end]
    targets[1][...] = -DATA[begin:end, :1]


def cut(n, size):
    return [(begin, min(n, begin + size)) for begin in range(0, n, size)]


def read(machine, pipeline, cuts, *, synchronously=False):
    """What kernels find in each block when they are done at last; and how often was copied before each."""
    found, copies = [], []
    for begin, (X, Y) in pipeline.run(cuts, fill):
        copies.append(machine.log.count("copy") // 2)

        def kernel(begin=begin, X=X, Y=Y):
            found.append((begin, X.memory.copy(), Y.memory.copy()))

        machine.kernels.add(kernel)
        if synchronously:
            machine.kernels.synchronize()
    machine.kernels.synchronize()
    return found, copies


@pytest.mark.parametrize("synchronously", [False, True])
@pytest.mark.parametrize("n", [1, 4, 5, 8, 9, 23])
def test_kernels_find_their_blocks(machine, n, synchronously):
    pipeline = BlockPipeline(0, 4, [2, 1], np.float64)
    for _ in range(2):  # the places are used again
        cuts = cut(n, 4)
        found, _ = read(machine, pipeline, cuts, synchronously=synchronously)
        assert [begin for begin, *_ in found] == [begin for begin, _ in cuts]
        for (begin, end), (_, X, Y) in zip(cuts, found, strict=True):
            np.testing.assert_array_equal(X, DATA[begin:end])
            np.testing.assert_array_equal(Y, -DATA[begin:end, :1])


def test_the_next_copy_is_under_way_before_a_block_is_worked_on(machine):
    pipeline = BlockPipeline(0, 4, [2, 1], np.float64)
    _, copies = read(machine, pipeline, cut(23, 4))
    assert copies == [2, 3, 4, 5, 6, 6]


def test_the_host_waits_for_no_kernel(machine):
    if machine.kernels.eager:
        pytest.skip("of kernels that are put off")
    pipeline = BlockPipeline(0, 4, [2, 1], np.float64)
    done = []
    blocks = pipeline.run(cut(12, 4), fill)
    for i in range(3):
        next(blocks)
        machine.kernels.add(lambda i=i: done.append(i))
        # The copy of block 2 takes the place of block 0, and nothing else had to be waited for.
        assert set(done) <= {0}
    blocks.close()


def test_a_run_that_is_left_leaves_nothing_behind(machine):
    pipeline = BlockPipeline(0, 4, [2, 1], np.float64)
    left = pipeline.run(cut(23, 4), fill)
    _, (X, _) = next(left)
    seen = []
    machine.kernels.add(lambda: seen.append(X.memory.copy()))
    # Still referred to, as by the traceback of an exception. The next run waits for the kernel above, too.
    found, _ = read(machine, pipeline, cut(6, 4))
    np.testing.assert_array_equal(seen[0], DATA[:4])
    np.testing.assert_array_equal(np.concatenate([X for _, X, _ in found]), DATA[:6])
    with pytest.raises(RuntimeError, match="another run"):
        next(left)  # or its blocks would seem to be all there are
    assert machine.copies.done == len(machine.copies.queue)


def test_what_goes_wrong_on_the_way_is_raised(machine):
    def fail(begin, end, targets):
        if end > 8:
            raise OSError("the file is gone")

    pipeline = BlockPipeline(0, 4, [2, 1], np.float64)
    blocks = pipeline.run(cut(23, 4), fail)
    assert next(blocks)[0] == 0
    with pytest.raises(OSError, match="the file is gone"):
        next(blocks)
    assert machine.copies.done == len(machine.copies.queue)
    assert len(read(machine, pipeline, cut(23, 4))[0]) == 6


# A rule of the pipeline, and its line without it.
RULES = {
    "kernels wait for the copy": ("self._copied[i % 2].wait()", "pass"),
    "a copy waits for kernels": ("self._used[i % 2].wait(self._stream)", "pass"),
    "a place is filled after its copy": ("self._copied[i % 2].synchronize()", "pass"),
    "a run waits for the one before": ("used.record()  #", "pass  #"),
}


@pytest.mark.parametrize("rule", list(RULES))
def test_each_rule_is_needed(rule, monkeypatch):
    """Without one of the rules the machine of these tests goes wrong: they would notice."""
    source = Path(block_pipeline.__file__).read_text()
    assert source.count(RULES[rule][0]) == 1
    broken = ModuleType("broken")
    exec(compile(source.replace(*RULES[rule]), "broken", "exec"), broken.__dict__)
    wrong = 0
    for times in TIMES.values():
        machine = Machine(*times)
        for name, value in (
            ("event", machine.event), ("copy_stream", lambda ordinal, machine=machine: machine.copies),
            ("cuda", machine), ("on_device", lambda ordinal: nullcontext()),
        ):  # fmt: skip
            monkeypatch.setattr(broken, name, value)
        pipeline = broken.BlockPipeline(0, 4, [2, 1], np.float64)
        if rule.startswith("a run"):
            left = pipeline.run(cut(23, 4), fill)
            _, (X, _) = next(left)
            seen = []
            machine.kernels.add(lambda X=X, seen=seen: seen.append(X.memory.copy()))
            read(machine, pipeline, [(8, 12), (12, 16)])
            wrong += not np.array_equal(seen[0], DATA[:4])
            continue
        found, _ = read(machine, pipeline, cut(23, 4))
        wrong += not np.array_equal(np.concatenate([X for _, X, _ in found]), DATA)
    assert wrong
