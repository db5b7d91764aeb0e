"""Sparse matrices in every form that stands for a given one, and in forms that stand for none."""

import numpy as np
from scipy import sparse

FORMATS = ("csr", "csc", "bsr", "coo", "lil", "dok", "dia")
KINDS = ("array", "matrix")


def make(form, kind):
    return getattr(sparse, f"{form}_{kind}")


def triplets(X, rng):
    """Values and places of every entry in two halves, of zeros, and of entries that cancel, in any order."""
    row, col = np.nonzero(X)
    halves = X[row, col] / 2
    free_row, free_col = (found[:9] for found in np.nonzero(X == 0))
    data = np.r_[halves, halves, np.zeros(3), np.full(6, 3.5), np.full(6, -3.5)]
    row = np.r_[row, row, free_row[:3], free_row[3:], free_row[3:]]
    col = np.r_[col, col, free_col[:3], free_col[3:], free_col[3:]]
    order = rng.permutation(data.size)
    return data[order].astype(X.dtype), row[order], col[order]


def by_line(data, line, cell, n_lines):
    """Triplets as values, indices and pointers, with the entries of a line in the order of the triplets."""
    order = np.argsort(line, kind="stable")
    indptr = np.r_[0, np.cumsum(np.bincount(line, minlength=n_lines))]
    return data[order], cell[order], indptr


def forms(X, kind):
    """Name -> matrix, which all stand for the dense X, of even height and width, with nine zeros or more."""
    n, d = X.shape
    data, row, col = triplets(X, np.random.default_rng(0))
    found = {form: make(form, kind)(X) for form in FORMATS}
    csr, csc = make("csr", kind), make("csc", kind)
    for name, sums in (("csr", (data, row, col, n)), ("csc", (data, col, row, d))):
        found[f"{name} messy"] = make(name, kind)(by_line(*sums), shape=X.shape)
    found["csr said to be canonical"] = lying = csr(by_line(data, row, col, n), shape=X.shape)
    lying.has_canonical_format = True
    found["csr changed after it was canonical"] = late = csr(X)
    assert late.has_canonical_format
    late.data, late.indices, late.indptr = by_line(data, row, col, n)
    found["csr said not to be canonical"] = modest = csr(X)
    modest.has_canonical_format = modest.has_sorted_indices = False
    found["csr with a tail"] = tail = csr(X)
    tail.data, tail.indices = np.r_[tail.data, np.nan], np.r_[tail.indices, -7]
    for name, index, pointer in (
        ("64-bit", np.int64, np.int64),
        ("unsigned", np.uint64, np.uint64),
        ("big-endian", ">i4", ">i8"),
        ("8-bit", np.int8, np.int16),
    ):
        found[f"csr with {name} indices"] = other = csr(X)
        other.indices, other.indptr = other.indices.astype(index), other.indptr.astype(pointer)
    found["csr big-endian"] = swapped = csr(X)
    swapped.data = swapped.data.astype(swapped.data.dtype.newbyteorder(">"))
    found["csr read-only"] = frozen = csr(X)
    for array in (frozen.data, frozen.indices, frozen.indptr):
        array.flags.writeable = False
    found["csr strided"] = strided = csr(X)
    strided.data, strided.indices = np.repeat(strided.data, 2)[::2], np.repeat(strided.indices, 2)[::2]
    found["csc with 64-bit indices"] = wide = csc(X)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    found["coo messy"] = make("coo", kind)((data, (row, col)), shape=X.shape)
    found["coo with 64-bit coordinates"] = wide = make("coo", kind)(X)
    wide.coords = tuple(part.astype(np.int64) for part in wide.coords)
    blocks = make("bsr", kind)(X, blocksize=(2, 2))
    line = np.repeat(np.arange(n // 2), np.diff(blocks.indptr))
    order = np.random.default_rng(1).permutation(2 * line.size) % line.size  # each of them twice
    halves = by_line(blocks.data[order] / 2, line[order], blocks.indices[order], n // 2)
    found["bsr messy"] = make("bsr", kind)(halves, shape=X.shape)
    found["lil messy"] = lists = make("lil", kind)(X.shape, dtype=X.dtype)
    for value, i, j in zip(data.tolist(), row.tolist(), col.tolist(), strict=True):
        lists.rows[i].append(j)
        lists.data[i].append(value)
    found["dok with zeros"] = keys = make("dok", kind)(X)
    for i, j in zip(*(part[:5].tolist() for part in np.nonzero(X == 0)), strict=True):
        keys.setdefault((i, j), 0.0)
    found["dia with diagonals outside"] = diagonals = make("dia", kind)(X)
    diagonals.offsets = np.r_[diagonals.offsets, 5 * d, -5 * n, 2**31 - 1]
    diagonals.data = np.r_[diagonals.data, np.full((3, diagonals.data.shape[1]), 9, X.dtype)]
    return found


def _set(**parts):
    """A corruption: sets attributes to what a function makes of them."""

    def corrupt(X):
        for name, change in parts.items():
            setattr(X, name, change(getattr(X, name)))

    return corrupt


def at(place, value):
    """A change of one element."""

    def change(array):
        array = array.copy()
        array[place] = value
        return array

    return change


def _coordinate(axis, change):
    return _set(coords=lambda coords: tuple(change(c) if i == axis else c for i, c in enumerate(coords)))


def _entry(key, value=1.0):
    def corrupt(X):
        X.setdefault(key, value)

    return corrupt


_COMPRESSED = {
    "index -1": _set(indices=at(0, -1)),
    "index 100000000": _set(indices=at(-1, 100_000_000)),
    "64-bit index": _set(indices=lambda part: at(2, 2**40)(part.astype(np.int64))),
    "64-bit pointer": _set(indptr=lambda part: at(2, 2**40)(part.astype(np.int64))),
    "pointers that descend": _set(indptr=at(1, 10**6)),
    "a negative pointer": _set(indptr=at(1, -5)),
    "pointers from 1": _set(indptr=at(0, 1)),
    "pointers beyond the data": _set(indptr=at(-1, 10**6)),
    "too few pointers": _set(indptr=lambda part: part[:-1]),
    "too many pointers": _set(indptr=lambda part: np.r_[part, part[-1]]),
    "no pointers": _set(indptr=lambda part: part[:0]),
    "too few indices": _set(indices=lambda part: part[:-1]),
    "too few values": _set(data=lambda part: part[:-1]),
    "both too few": _set(indices=lambda part: part[:-1], data=lambda part: part[:-1]),
    "float indices": _set(indices=lambda part: part.astype(float)),
    "float pointers": _set(indptr=lambda part: part.astype(float)),
    "indices in two dimensions": _set(indices=lambda part: part[:, None]),
    "no indices": _set(indices=lambda part: None),
}
MALFORMED = {
    "csr": _COMPRESSED | {"values in two dimensions": _set(data=lambda part: part[:, None])},
    "csc": _COMPRESSED | {"values in two dimensions": _set(data=lambda part: part[:, None])},
    "bsr": _COMPRESSED
    | {
        "values in one dimension": _set(data=lambda part: part[:, 0, 0]),
        "larger blocks": _set(data=lambda part: np.repeat(part, 2, axis=1)),
        "blocks that do not tile": _set(data=lambda part: np.repeat(part, 7, axis=2)),
        "empty blocks": _set(data=lambda part: part[:, :0]),
    },
    "coo": {
        f"{what} of the {('rows', 'columns')[axis]}": _coordinate(axis, change)
        for axis in range(2)
        for what, change in {
            "index -1": at(0, -1),
            "index 100000000": at(-1, 100_000_000),
            "64-bit index": lambda part: at(0, 2**40)(part.astype(np.int64)),
            "too few indices": lambda part: part[:-1],
            "float indices": lambda part: part.astype(float),
        }.items()
    }
    | {
        "too few values": _set(data=lambda part: part[:-1]),
        "three coordinates": _set(coords=lambda coords: (*coords, coords[0])),
        "values in two dimensions": _set(data=lambda part: part[:, None]),
    },
    "lil": {
        "index -1": lambda X: X.rows[0].append(-1) or X.data[0].append(1.0),
        "index 100000000": lambda X: X.rows[3].append(100_000_000) or X.data[3].append(1.0),
        "index 2**80": lambda X: X.rows[3].append(2**80) or X.data[3].append(1.0),
        "index 0.5": lambda X: X.rows[3].append(0.5) or X.data[3].append(1.0),
        "more indices than values": lambda X: X.rows[1].append(2),
        "more values than indices": lambda X: X.data[1].append(2.0),
        "indices of the row below": lambda X: X.rows[1].append(2) or X.data[2].append(2.0),
        "no list": _set(rows=at(0, None)),
        "too few rows": _set(rows=lambda part: part[:-1]),
        "too few rows of values": _set(data=lambda part: part[:-1]),
        "a value that is no number": lambda X: X.rows[1].append(2) or X.data[1].append("a"),
        "a value that is a list": lambda X: X.rows[1].append(2) or X.data[1].append([1.0]),
    },
    "dok": {
        f"key {key}": _entry(key)
        for key in (
            *((-1, 0), (0, -1), (10**8, 0), (0, 10**8), (0, 2**80)),
            *((0, 0.5), (0, 1, 2), (0,), 0, "ab", (None, 0)),
        )
    }
    | {"a value that is no number": _entry((0, 0), "a")},
    "dia": {
        "too few offsets": _set(offsets=lambda part: part[:-1]),
        "too few diagonals": _set(data=lambda part: part[:-1]),
        "an offset twice": _set(offsets=lambda part: np.r_[part[:-1], part[0]]),
        "float offsets": _set(offsets=lambda part: part.astype(float)),
        "diagonals in one dimension": _set(data=np.ravel),
        "offsets in two dimensions": _set(offsets=lambda part: part[:, None]),
    },
}


def malformed(X, form, kind, name):
    """The dense X in a format, spoiled; its first entry is not zero."""
    made = make(form, kind)(X)
    if form == "dok":
        made.pop((0, 0), None)
    MALFORMED[form][name](made)
    return made
