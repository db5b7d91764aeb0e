"""Dropout: which hidden units take part in a step of training.

A unit of a sample is dropped with probability `rate`, else kept and divided by ``1 - rate``, so that its mean
stays what it was and a prediction needs nothing (Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov
(2014), "Dropout: a simple way to prevent neural networks from overfitting", JMLR 15, section 10).

What decides is a random number that is a function of its place: the seed, the number of the step, the hidden
layer, the sample and the unit. There is no state, so whoever computes it, on whatever device, gets the same.
The function is Philox4x32-7 (Salmon, Moraes, Dror and Shaw (2011), "Parallel random numbers: as easy as 1, 2,
3", SC11): of 128 bits of counter and 64 of key it makes four numbers of 32 bits. Seven rounds are the fewest
that passed all of the authors' tests.
"""

from typing import NamedTuple

import numpy as np

from fastnn.tables.jitable import register_jitable

# Inlined, or the loop around them would be a loop of calls.
_scalar = register_jitable(forceinline=True)

WORDS = 4  # numbers of one counter, for as many neighbouring units
_ROUNDS = 7
# Words are kept in 64 bits, where a product of two of them has room. Every operand is unsigned: Numba would
# make a float of an unsigned and a signed integer.
_MASK, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_INCREMENTS = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)


@_scalar
def philox(x0, x1, x2, x3, k0, k1):
    """Four random words of the counter (x0, x1, x2, x3) and the key (k0, k1); all are uint64 below 2^32."""
    for _ in range(_ROUNDS):
        p0, p1 = x0 * _MULTIPLIERS[0], x2 * _MULTIPLIERS[1]
        x0, x2 = (p1 >> _HALF) ^ x1 ^ k0, (p0 >> _HALF) ^ x3 ^ k1
        x1, x3 = p1 & _MASK, p0 & _MASK
        k0, k1 = (k0 + _INCREMENTS[0]) & _MASK, (k1 + _INCREMENTS[1]) & _MASK
    return x0, x1, x2, x3


@_scalar
def random_words(seed, step, layer, sample, block):
    """The random words of the units 4 block to 4 block + 3 of a hidden layer; the arguments are integers.

    step : steps that the optimiser has done before, modulo 2^32
    layer, sample : number of the hidden layer, and place of the sample in its batch, from 0
    """
    key = np.uint64(seed)
    return philox(
        np.uint64(block), np.uint64(sample), np.uint64(step) & _MASK, np.uint64(layer),
        key & _MASK, key >> _HALF,
    )  # fmt: skip


@_scalar
def is_dropped(seed, step, layer, sample, unit, threshold):
    """Whether a unit of a hidden layer takes no part in a step; see ``random_words`` and ``Dropout``."""
    w0, w1, w2, w3 = random_words(seed, step, layer, sample, unit >> 2)
    place = unit & 3
    low = w0 if place == 0 else w1
    high = w2 if place == 2 else w3
    return (low if place < 2 else high) < np.uint64(threshold)


class Dropout(NamedTuple):
    """How units are dropped in training.

    Parameters
    ----------
    rate : float, default=0.0
        Probability that a unit is dropped, in [0, 1). It counts as the nearest multiple of 2^-32 below 1; if
        that is 0 there is no dropout.
    seed : int, default=0
        Key of the random numbers, 0 to 2^63 - 1.
    """

    rate: float = 0.0
    seed: int = 0

    @property
    def threshold(self) -> int:
        """A unit is dropped if its random word is below this."""
        return min(round(self.rate * 2.0**32), 2**32 - 1)

    @property
    def kept(self) -> float:
        """Probability that a unit is kept."""
        return 1.0 - self.threshold * 2.0**-32

    @property
    def scale(self) -> float:
        """Factor of the units that are kept."""
        return 1.0 / self.kept


NO_DROPOUT = Dropout()
