"""The naive twin of what is made of a table: the whole one-hot matrix, and NumPy's quantiles of it."""

import numpy as np


def is_none(value):
    return value is None or value != value


def one_hot(train, other):
    """Columns of a categorical one: of the rows to learn from, and of others."""
    categories = sorted({value for value in train if not is_none(value)})
    if len(categories) == 2:
        sign = {categories[0]: 1.0, categories[1]: -1.0}
        columns = [[[sign.get(value, 0.0)] for value in rows] for rows in (train, other)]
    elif categories:
        columns = [
            [[float(value == each) for each in categories] for value in rows] for rows in (train, other)
        ]
    else:
        columns = [[[0.0]] * len(rows) for rows in (train, other)]
    return map(np.array, columns)


def smooth_clip(x):
    return x / np.sqrt(1 + (x / 3) ** 2)


def scale(train, other):
    """A column by median and quartile distance of the rows to learn from; missing numbers become 0."""
    there = train[~np.isnan(train)]
    if there.size == 0:
        return np.zeros_like(other)
    lower, median, upper = np.quantile(there, [0.25, 0.5, 0.75])
    distance = upper - lower
    if distance == 0:
        distance = (there.max() - there.min()) / 2
    if distance == 0:
        return np.zeros_like(other)
    return np.where(np.isnan(other), 0.0, smooth_clip((other - median) / distance))


def preprocess(train, other, is_categorical):
    """Inputs of a network for the rows of one table, from what another one holds.

    Both are lists of columns: arrays of floats with NaN, or lists of categories with None.
    """
    numbers, missing, categories = [], [], []
    for mine, theirs, is_category in zip(train, other, is_categorical):
        if is_category:
            mine, theirs = one_hot(mine, theirs)
            categories += [scale(a, b) for a, b in zip(mine.T, theirs.T)]
        else:
            numbers.append(scale(mine, theirs))
            lacks = np.isnan(mine)
            if lacks.any() and not lacks.all():
                missing.append(scale(lacks.astype(float), np.isnan(theirs).astype(float)))
    return np.stack([*numbers, *missing, *categories], axis=1)
