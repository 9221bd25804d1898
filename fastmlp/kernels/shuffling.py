"""The order of samples: NumPy's legacy shuffle, compiled, so that many epochs fit into one call.

``RandomState.shuffle`` draws with the Mersenne Twister MT19937 (Matsumoto and Nishimura, 1998) and
picks each swap by rejection under the smallest mask of ones. The same draws are made here on the
generator's own state, so the orders and the generator afterwards are exactly those of
``sklearn.utils.shuffle``.
"""

from __future__ import annotations

import numpy as np

from fastmlp.simd.jit import inner

STATE_WORDS = 624
_MIDDLE = 397
_UPPER, _LOWER = np.uint32(0x80000000), np.uint32(0x7FFFFFFF)
_TWIST = np.uint32(0x9908B0DF)
_MASK_B, _MASK_C = np.uint32(0x9D2C5680), np.uint32(0xEFC60000)
_ONE = np.uint32(1)


@inner
def _twisted(word, following):
    y = (word & _UPPER) | (following & _LOWER)
    return (y >> _ONE) ^ (_TWIST if y & _ONE else np.uint32(0))


@inner
def _regenerate(key):
    """Replace the 624 words of the generator by the next 624."""
    # Without a remainder in the subscripts these loops are vectors.
    for i in range(STATE_WORDS - _MIDDLE):
        key[i] = key[i + _MIDDLE] ^ _twisted(key[i], key[i + 1])
    for i in range(STATE_WORDS - _MIDDLE, STATE_WORDS - 1):
        key[i] = key[i + _MIDDLE - STATE_WORDS] ^ _twisted(key[i], key[i + 1])
    key[STATE_WORDS - 1] = key[_MIDDLE - 1] ^ _twisted(key[STATE_WORDS - 1], key[0])


@inner
def _tempered(y):
    y = y ^ (y >> np.uint32(11))
    y = y ^ ((y << np.uint32(7)) & _MASK_B)
    y = y ^ ((y << np.uint32(15)) & _MASK_C)
    return y ^ (y >> np.uint32(18))


@inner
def shuffle_order(order, key, position):
    """Shuffle `order` in place; return the generator's new position.

    order (n,) int64. key (624,) uint32, the generator's state: overwritten.
    """
    if len(order) > 0xFFFFFFFF:
        raise ValueError("more than 2**32 - 1 samples cannot be shuffled")
    last = len(order) - 1
    while last > 0:
        mask = last
        mask |= mask >> 1
        mask |= mask >> 2
        mask |= mask >> 4
        mask |= mask >> 8
        mask |= mask >> 16
        # As long as this is the smallest mask.
        while last > mask >> 1:
            if position == STATE_WORDS:
                _regenerate(key)
                position = 0
            drawn = np.int64(_tempered(key[position])) & mask
            position += 1
            # A number that is rejected changes nothing: it costs less than a branch that nobody can predict.
            is_accepted = drawn <= last
            chosen = drawn if is_accepted else last
            order[last], order[chosen] = order[chosen], order[last]
            last -= int(is_accepted)
    return position
