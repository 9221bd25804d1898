"""A network's memory with guard bands around every buffer, and the way to find a matrix in it.

Together with ``Network``'s own methods this is all that the tests know of the layout in column
panels.
"""

import contextlib
from unittest import mock

import numpy as np

from fastmlp.network.layout import Layout
from fastmlp.network.network import Network
from fastmlp.simd.tile_table import TILE

# A NaN that no arithmetic yields: a guard that is read spoils the result, one that is written no longer matches.
SENTINELS = {
    4: np.array([0x7FC5A5A5], np.uint32).view(np.float32)[0],
    8: np.array([0x7FF8A5A5A5A5A5A5], np.uint64).view(np.float64)[0],
}
# Panel rows of a guard: more than a micro-tile is high.
_GUARD_ROWS = 9

_built = []


BY_ROWS = "by rows"
"""An orientation: samples fill the lanes, and the first weight gradient is computed from the rows of X."""

ORIENTATIONS = {"wide": False, "narrow": True, "narrow by rows": BY_ROWS}


class GuardedLayout(Layout):
    """A layout with a band of unused numbers after every buffer."""

    def __init__(self, layer_units, capacity, dtype, options):
        self._guards = []
        super().__init__(layer_units, capacity, dtype, options)
        # The parameters have copies: the guards between them too.
        inside = [place for place in self._guards if place < self.n_parameters]
        self._guards += [
            place + copy * self.n_parameters for copy in range(1, options.n_copies + 1) for place in inside
        ]

    def _numbers(self, count):
        place = super()._numbers(count)
        self._guards.append(super()._numbers(_GUARD_ROWS * self.panel_width))
        return place

    @property
    def guards(self):
        """Offsets of all numbers in guards."""
        size = _GUARD_ROWS * self.panel_width
        return np.concatenate([np.arange(place, place + size) for place in self._guards])


class HalvedLayout(GuardedLayout):
    """One in which all gradients are sums of halves."""

    halves_below = 0


class GuardedNetwork(Network):
    """A network whose workspace is full of sentinels wherever nothing may be written or read."""

    def __init__(
        self, *arguments, narrow=None, in_halves=None, leaves_zeros_out=False, keeps_entries_of=None, **options
    ):
        with contextlib.ExitStack() as patches:
            layout = HalvedLayout if in_halves else GuardedLayout
            patches.enter_context(mock.patch("fastmlp.network.network.Layout", layout))
            if in_halves is not None:
                patches.enter_context(mock.patch("fastmlp.network.network.may_gain", return_value=in_halves))
            if narrow is not None:  # whatever the shapes say
                patches.enter_context(mock.patch("fastmlp.network.network.is_narrow", return_value=bool(narrow)))
                patches.enter_context(
                    mock.patch("fastmlp.network.network.gains_by_rows", return_value=narrow == BY_ROWS)
                )
            if leaves_zeros_out:  # whatever X is
                options["rows"] = mock.Mock(**{"term_density.return_value": 0.5, "kept_entries.return_value": 0.0})
            if keeps_entries_of is not None:  # however many they are
                options["rows"] = keeps_entries_of
                patches.enter_context(mock.patch.object(keeps_entries_of, "kept_entries", return_value=1.0))
            super().__init__(*arguments, **options)
        # For L-BFGS the copy of the parameters is the gradient, which is cleared as a whole.
        self._is_cleared = options.get("solver") == "lbfgs"
        self._workspace[self._layout.guards] = SENTINELS[self.dtype.itemsize]
        _built.append(self)

    def assert_guards_untouched(self):
        places = self._layout.guards
        if self._is_cleared:
            n_parameters = self._layout.n_parameters
            places = places[(places < n_parameters) | (places >= 2 * n_parameters)]
        guards = self._workspace[places]
        bits = np.dtype(f"u{self.dtype.itemsize}")
        assert (guards.view(bits) == SENTINELS[self.dtype.itemsize].view(bits)).all()

    @property
    def workspace(self):
        return self._workspace

    @property
    def layers(self):
        """The layers' records, with fields as attributes."""
        return self._layers.view(np.recarray)

    @property
    def record(self):
        """What all layers share, likewise."""
        return self._record.view(np.recarray)

    def offsets(self, place, panel_rows, rows, columns):
        """Return where the numbers of a matrix of (rows, columns) lie, in panels of so many rows."""
        width = self._layout.panel_width
        row, column = np.ogrid[:rows, :columns]
        return place + (column // width * panel_rows + row) * width + column % width

    def padded(self, columns):
        """Return the columns of all the panels that hold so many."""
        return -(-columns // self._layout.panel_width) * self._layout.panel_width

    def samples_matrix(self, name, number, units=None):
        """Return where a layer's inputs, outputs or deltas, the network's targets, or the rows of X lie.

        The shape is (capacity, units).

        With more `units` than there are, the padding is included.
        """
        layer = self.layers[number]
        capacity = self.record[0].capacity
        place = self.record[0].targets if name == "targets" else layer[name]
        own = layer.fan_in if name in ("inputs", "rows") else layer.fan_out
        if name == "rows":  # whole panels of samples
            capacity = self.padded(capacity)
        if self.narrow and name != "rows":
            # Activations have a row of ones below the units.
            return self.offsets(place, own + (name in ("inputs", "outputs")), units or own, capacity).T
        return self.offsets(place, capacity, capacity, units or own)

    def half_gradient(self, number, place):
        """Return where one half of a layer's gradient lies: the weights, and the biases in a last row."""
        layer = self.layers[number]
        rows, columns = int(layer.fan_in) + 1, int(layer.fan_out)
        width = self._layout.panel_width
        row, column = np.ogrid[:rows, :columns]
        if not self.narrow:
            regular = self.offsets(place, rows, rows, columns)
            # Of a remainder panel tile after tile, each transposed, and behind them the biases.
            panel = (columns - 1) // width
            remainder, tile = place + panel * rows * width, max(TILE.rows, TILE.lanes(self.dtype)) * width
            weights = remainder + row // width * tile + column % width * width + row % width
            biases = remainder + (int(layer.remainder_tiles) - 1) * tile + column % width
            is_remainder = (layer.remainder_units > 0) & (column // width == panel)
            return np.where(is_remainder, np.where(row < layer.fan_in, weights, biases), regular)
        # Tile after tile; those from the rows of X are transposed.
        tile = column // width * int(layer.row_tiles) + row // width
        within = (row % width, column % width)
        above, beside = reversed(within) if layer.rows else within
        return place + tile * width**2 + above * width + beside

    def parameter_matrix(self, number, copy=0, columns=None):
        """Return where the weights and, in a last row, the biases of a layer lie, or their moments."""
        layer = self.layers[number]
        place = layer.parameters + copy * self.record[0].n_parameters
        return self.offsets(place, layer.fan_in + 1, layer.fan_in + 1, layer.fan_out if columns is None else columns)

    def transposed_matrix(self, number, columns=None):
        """Return where the transposed weights of a layer lie."""
        layer = self.layers[number]
        return self.offsets(
            layer.transposed, layer.fan_out, layer.fan_out, layer.fan_in if columns is None else columns
        )

    def read(self, offsets):
        return self._workspace[offsets]


@contextlib.contextmanager
def guards_checked():
    """Check the guards of every network that was built inside."""
    _built.clear()
    yield
    for network in _built:
        network.assert_guards_untouched()
    _built.clear()
