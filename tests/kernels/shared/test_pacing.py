"""How many steps a call of a long job does."""

from fastnn.kernels.shared import pacing
from fastnn.kernels.shared.pacing import Chunks


def test_chunks_grow_to_the_length_of_a_call(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(pacing.time, "perf_counter", lambda: now[0])
    chunks, sizes = Chunks(), []
    for _ in range(6):
        size = chunks.begin(10_000)
        now[0] += 1e-3 * size
        chunks.end(size)
        sizes.append(size)
    # At most eight times the chunk before, and no longer than 0.2 s; a step takes 1 ms.
    assert sizes[:3] == [1, 8, 64]
    assert set(sizes[3:]) <= {199, 200}
    # Steps that have become slow.
    size = chunks.begin(10_000)
    now[0] += 0.1 * size
    chunks.end(size)
    assert chunks.begin(10_000) == 2
    now[0] += 100.0
    chunks.end(2)
    assert chunks.begin(10_000) == 1


def test_chunks_end_with_the_job_and_take_no_step_for_none(monkeypatch):
    monkeypatch.setattr(pacing.time, "perf_counter", lambda: 0.0)  # a clock that stands still
    chunks, sizes = Chunks(growth=2), []
    done = 0
    while done < 10:
        size = chunks.begin(10 - done)
        chunks.end(size)
        done += size
        sizes.append(size)
    assert sizes == [1, 2, 4, 3]
    # The next job begins with what is known of the steps.
    assert chunks.begin(100) == 16
    chunks.shorten(3)
    assert chunks.begin(100) == 3
    chunks.shorten(50)
    assert chunks.begin(100) == 3
