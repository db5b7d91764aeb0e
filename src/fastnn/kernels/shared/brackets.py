"""Whether the bracket |c|^2 / 2 - x.c, by which kernels compare centres, was exact enough; for every device.

Of |x - c|^2 = |x|^2 + 2 (|c|^2 / 2 - x.c) only the bracket depends on the centre, x and c being taken from a
point amid the centres. It cancels where x lies far from there.
"""

import numpy as np

from fastnn.tables.jitable import register_jitable

# A distance below this many eps of |x|^2, and one more for each feature, is compared with all others in the
# direct form: the winner of the bracket, whose error is a few eps of |x|^2 and grows with the features, might
# be farther than the nearest centre by a hundredth.
BLUR = 400


# Centres times features up to which the direct form is used throughout: there its subtractions take less time
# than the distances of the winners, which the bracket leaves to do.
_SMALL = 160


@register_jitable
def is_small(k, d):
    """Whether the direct form takes less time than the bracket and the winners' distances afterwards."""
    return k * d <= _SMALL


@register_jitable
def is_certain(distance, bracket, blur):
    """Whether a distance is finite, and so large that the bracket's rounding did not choose its centre.

    |x - shift|^2 = distance - 2 bracket: the bracket's error is some eps of this.
    """
    # A sum: 2 times a float32 would be a float64. Of an infinite bracket that sum would make a sure thing.
    sure = distance >= blur * (distance - (bracket + bracket))
    return sure & (bracket < np.inf) & (distance < np.inf)
