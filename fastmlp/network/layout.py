"""The memory of a network: column panels in one flat workspace, and the records that say where a layer's lie.

Every matrix is kept for the whole of training as column panels, ``[columns / NR][rows][NR]``::

        columns 0 .. NR-1        columns NR .. 2NR-1
      +-----------------------+-----------------------+--
 row 0| 0 1 2 ...       NR-1  | P   P+1 ...           |       P = rows * NR: panel after panel,
 row 1| NR ...          2NR-1 | P+NR ...              |       each panel row after row
  ... |                       |                       |
      +-----------------------+-----------------------+--

so that element (i, j) lies at ``(j // NR) * rows * NR + i * NR + j % NR``. Columns beyond the
matrix are zeros and stay zeros: no product reads or changes them, and the vectors that hold nothing
else are not computed.

A weight matrix has one row more than fan_in: the last is the bias. All parameters come first; optimiser
moments lie at the same places in copies of this part that follow it. Which rows of which panels are a
parameter block's is in the list of these (see ``parameter_blocks``).

Where the entries of a sparse X are kept (see ``entries``), the first weight matrix is one panel, as wide
as its rows are in whole registers, and there are no panels of X.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from fastmlp.kernels.records import LAYER, LAYER_FIELDS, LayerPlaces
from fastmlp.network.parameter_blocks import ParameterBlock, parameter_shapes
from fastmlp.simd.tile_table import ALIGNMENT, BLOCK_BYTES, ENTRY_TILE_ROWS, RESIDENT_BYTES, SPARSE_TILE_ROWS, TILE

# An update takes as long as the gradient over so many samples, and writing W transposed besides over so many more.
_UPDATE_SAMPLES, _TRANSPOSITION_SAMPLES = 32, 16
# An entry of a sparse X takes as long in a gradient as so many numbers of a dense one.
_ENTRY_SAMPLES = 4


class LayoutOptions(NamedTuple):
    """What a layout has room for.

    Attributes
    ----------
    n_copies : int
        Copies of the parameters that follow them: optimiser moments, or one for a gradient.
    with_deltas : bool
        Whether there is anything to train; a network that only predicts has no deltas.
    n_blocks : int
        Most blocks into which phase 2 is cut.
    narrow : bool
        Whether samples fill the lanes (see ``narrow.products``); such a network has deltas.
    with_rows : bool
        Whether a narrow network keeps the rows of X besides (see ``narrow.gradients``).
    in_halves : bool
        Whether gradients of small matrices are sums of halves (see ``wide.gradients``).
    term_density : float
        Part of the terms that is left in the first layer's products, where zeros of X are left out (see
        ``wide.nonzero_lists``); 1 where they are not.
    n_entries : int
        Most entries of a minibatch, where the first layer goes over those of a sparse X (see ``wide.entries``); 0 where
        it does not. Such a network is not narrow, and leaves out no other terms.
    with_slopes : bool
        Whether the slopes of the hidden activations are kept, which cannot be found from their values.
    """

    n_copies: int
    with_deltas: bool
    n_blocks: int
    narrow: bool = False
    with_rows: bool = False
    in_halves: bool = False
    term_density: float = 1.0
    n_entries: int = 0
    with_slopes: bool = False


class Layout:
    """The places of every matrix of one network.

    Parameters
    ----------
    layer_units : sequence of int
        Units of each layer, input and output included.
    capacity : int
        Rows of the largest minibatch.
    dtype : dtype
        float32 or float64.
    options : LayoutOptions
        What it has room for.

    Attributes
    ----------
    places : list of LayerPlaces
        One for each weight matrix.
    layers : ndarray of LAYER
        The same as records.
    blocks : list of ParameterBlock
        The parameters, in the order in which scikit-learn has them.
    n_parameters : int
        Numbers of all parameters, padding included.
    size : int
        Numbers in the workspace.
    tile_rows : int
        Rows of a weight tile, but for the last of a panel and for a remainder panel.
    scratch_size : int
        Numbers of the place in which each block of phase 2 computes the gradients of its tiles.
    remainder_fill : float
        A panel whose units fill no more than this part of a register is a remainder panel: else its gradient gains
        nothing from being computed the other way round, or less than transposing it takes.
    halves_below : float
        Gradients are sums of halves where so many times the weights are no more than their activations and deltas: else
        writing and reading the halves takes longer than what it saves (measured on a Granite Rapids).
    """

    remainder_fill = 0.75
    halves_below = 3

    def __init__(
        self,
        layer_units: Sequence[int],
        capacity: int,
        dtype: np.dtype | type,
        options: LayoutOptions,
    ) -> None:
        self.panel_width = TILE.columns(dtype)
        self.lanes = TILE.lanes(dtype)
        self.places = list(itertools.starmap(LayerPlaces, itertools.pairwise(layer_units)))
        self.capacity = capacity
        self.size = 0
        self.tile_rows = self.panel_width if options.narrow else TILE.rows
        self._narrow = options.narrow
        self._term_density = options.term_density
        self.places[0].most_entries = options.n_entries
        itemsize = np.dtype(dtype).itemsize
        self._grain = math.lcm(self.panel_width, ALIGNMENT // itemsize)
        tile = 0
        for layer in self.places:
            layer.first_tile = tile
            if layer.most_entries:
                layer.row_size = -(-layer.fan_out // self.lanes) * self.lanes
                layer.parameters = self._numbers((layer.fan_in + 1) * layer.row_size)
                layer.row_tiles = layer.block_tiles = len(self._tile_heights(layer.fan_in, ENTRY_TILE_ROWS))
                tile += layer.row_tiles
                continue
            layer.parameters = self._panels(layer.fan_in + 1, layer.fan_out)
            layer.row_tiles = len(self._tile_heights(layer.fan_in, self.tile_rows))
            layer.block_tiles = self._block_tiles(layer.row_tiles, itemsize)
            layer.remainder_units = 0 if options.narrow else self.remainder_units(layer.fan_out, self.lanes)
            if layer.remainder_units:
                layer.remainder_tiles = len(self._tile_heights(layer.fan_in, self.panel_width))
            weight_bytes = layer.fan_in * layer.fan_out * itemsize
            layer.prefetch_panels = int(TILE.prefetches_panels and weight_bytes > RESIDENT_BYTES)
            tile += layer.row_tiles * self._regular_panels(layer) + layer.remainder_tiles
        self.n_tiles = tile
        self.n_parameters = self.size
        self.size += options.n_copies * self.n_parameters
        self._place_samples(options.with_deltas, options.with_rows, options.in_halves, options.with_slopes)
        self.losses = self._numbers(capacity)
        self.weights = self._numbers(capacity)
        self.sums = self._numbers(capacity)
        self.squares = self._numbers(self.n_tiles)
        self.zeros = self._numbers(self.panel_width)
        self.scratch_size = self._scratch_rows() * self.panel_width
        if options.term_density < 1 and self._lists_can_be_written(itemsize):
            self.scratch_size += self._place_lists(self.places[0], options.with_deltas)
        if options.n_entries:
            self.scratch_size += self._place_entries(self.places[0])
        self.scratch = self._numbers(options.n_blocks * self.scratch_size)
        self.blocks = self._parameter_blocks(parameter_shapes(layer_units))
        self.layers = np.array(list(map(attrgetter(*LAYER_FIELDS), self.places)), LAYER)
        self._tile_bounds: dict[int, np.ndarray] = {}

    def _parameter_blocks(self, shapes: dict[str, tuple[int, ...]]) -> list[ParameterBlock]:
        rest: dict[str, tuple] = {}
        for number, layer in enumerate(self.places):
            panels = (layer.parameters, layer.fan_in + 1, layer.row_size or self.panel_width)
            rest[f"coefs_{number}"] = (*panels, 0, layer.transposed, layer.rate_factor, layer.decay_factor)
            rest[f"intercepts_{number}"] = (
                *panels, layer.fan_in, 0, layer.bias_rate_factor, layer.bias_decay_factor
            )  # fmt: skip
        return [ParameterBlock(name, shape, *rest[name]) for name, shape in shapes.items()]

    def _place_samples(self, with_deltas: bool, with_rows: bool, in_halves: bool, with_slopes: bool) -> None:
        """Reserve what the samples of a minibatch go through, and the halves of gradients over them."""
        capacity, n_features, n_outputs = self.capacity, self.places[0].fan_in, self.places[-1].fan_out
        inputs = 0 if self.places[0].row_size else self._activations(n_features)
        if with_rows:
            self.places[0].rows = self._panels(self.n_panels(capacity) * self.panel_width, n_features)
        for number, layer in enumerate(self.places):
            layer.inputs = inputs
            layer.outputs = inputs = self._activations(layer.fan_out)
            if with_slopes and layer is not self.places[-1]:
                layer.slopes = self._activations(layer.fan_out)
            if with_deltas:
                layer.deltas = self._by_samples(layer.fan_out)
                if number > 0 and not self._narrow:
                    layer.transposed = self._panels(layer.fan_out, layer.fan_in)
            weights, inputs_and_deltas = layer.fan_in * layer.fan_out, capacity * (layer.fan_in + layer.fan_out)
            if in_halves and not layer.row_size and self.halves_below * weights <= inputs_and_deltas:
                layer.first_half, layer.second_half = self._half(layer), self._half(layer)
        self.targets = self._by_samples(n_outputs) if with_deltas else 0

    def _lists_can_be_written(self, itemsize: int) -> bool:
        """Return whether places within X and within a panel of the first W are small enough for lists."""
        columns = self.n_panels(self.places[0].fan_in) * self.panel_width
        return columns * max(self.capacity, self.panel_width) < 2 ** (8 * itemsize - 1)

    def _place_lists(self, layer: LayerPlaces, with_deltas: bool) -> int:
        """Reserve marks and lists of what is not zero in X; return what each block's scratch needs of them."""
        mark_features = max(SPARSE_TILE_ROWS, self.lanes)
        n_marks = -(-layer.fan_in // mark_features)
        # By whole registers: see what ``wide.nonzero_lists`` reads and writes.
        layer.mark_rows = -(-self.capacity // self.lanes) * self.lanes
        layer.marks = self._numbers(n_marks * layer.mark_rows)
        n_entries = n_marks * mark_features + self.lanes
        layer.feature_list_size = 1 + 2 * n_entries
        layer.feature_lists = self._numbers(self.capacity // SPARSE_TILE_ROWS * layer.feature_list_size)
        if not with_deltas:
            return 0
        layer.sample_lists = self.scratch_size
        layer.sample_list_size = 2 + layer.mark_rows + self.lanes
        # Halves of gradients are computed panel after panel, others in the order of the tiles.
        tiles = layer.row_tiles if layer.first_half else layer.block_tiles
        layer.n_sample_lists = tiles * TILE.rows // SPARSE_TILE_ROWS
        return -(-layer.n_sample_lists * layer.sample_list_size // self._grain) * self._grain

    def _place_entries(self, layer: LayerPlaces) -> int:
        """Reserve the lists of the entries of X; return what each block's scratch needs for a tile's gradient."""
        layer.entry_values, layer.entry_columns, layer.entry_samples, layer.entry_links = (
            self._numbers(layer.most_entries) for _ in range(4)
        )
        layer.entry_begins, layer.entry_ends = self._numbers(self.capacity), self._numbers(self.capacity)
        layer.tile_entries = self._numbers(layer.row_tiles)
        layer.entry_gradient = self.scratch_size
        return -(-ENTRY_TILE_ROWS * layer.row_size // self._grain) * self._grain

    def _block_tiles(self, row_tiles: int, itemsize: int) -> int:
        """Return how many row tiles of a layer phase 2 goes through in all panels before it begins with the next."""
        if self._narrow:
            return row_tiles
        # Units of the layer below, by whole panels, whose activations stay in cache meanwhile.
        panel_bytes = self.capacity * self.panel_width * itemsize
        return min(row_tiles, max(1, BLOCK_BYTES // panel_bytes) * self.panel_width // TILE.rows)

    def _regular_panels(self, layer: LayerPlaces) -> int:
        """Return the number of a layer's panels but for a remainder panel."""
        return self.n_panels(layer.fan_out) - (layer.remainder_units > 0)

    def _scratch_rows(self) -> int:
        """Return the rows of NR numbers that the gradient of a tile takes, as the halves of a sum and otherwise."""
        if self._narrow:
            return 3 * self.panel_width
        if any(layer.remainder_units for layer in self.places):
            return 2 * self._transposed_rows + self.panel_width
        return 2 * TILE.rows

    @classmethod
    def remainder_units(cls, fan_out: int, lanes: int) -> int:
        """Return the units in the last panel of a layer if it is a remainder panel, else 0."""
        units = (fan_out - 1) % (TILE.vectors * lanes) + 1
        return units if units <= cls.remainder_fill * lanes else 0

    @property
    def _transposed_rows(self) -> int:
        """Rows of a gradient that is to be transposed."""
        return max(TILE.rows, self.lanes)

    def _tile_heights(self, fan_in: int, tile_rows: int) -> np.ndarray:
        """Return the rows of the weight tiles of one panel, from top to bottom.

        The biases have no L2 term. They are a tile of their own; in a narrow network, where they are a row like others
        to all but the L2 term, they are the last row of the last tile.
        """
        rows = fan_in + 1 if self._narrow else fan_in
        heights = np.full(-(-rows // tile_rows), tile_rows, dtype=float)
        heights[-1] = rows - (len(heights) - 1) * tile_rows
        return heights if self._narrow else np.append(heights, 1)

    def tile_bounds(self, n_blocks: int) -> np.ndarray:
        """Return where each block of weight tiles begins, so that all blocks have the same work."""
        if n_blocks not in self._tile_bounds:
            self._tile_bounds[n_blocks] = self._cut_tiles(n_blocks)
        return self._tile_bounds[n_blocks]

    def _cut_tiles(self, n_blocks: int) -> np.ndarray:
        if n_blocks == 1:
            return np.array([0, self.n_tiles])
        costs = [self._tile_costs(layer, in_phase_1=layer.first_half > 0 and n_blocks == 2) for layer in self.places]
        total = np.concatenate([[0.0], np.cumsum(np.concatenate(costs))])
        shares = np.linspace(0, total[-1], n_blocks + 1)
        bounds = np.searchsorted(total, shares - 1e-9).astype(np.int64)
        bounds[0], bounds[-1] = 0, self.n_tiles
        return bounds

    def _tile_costs(self, layer: LayerPlaces, in_phase_1: bool) -> np.ndarray:
        """Return the work of each weight tile of a layer, as they are numbered; its gradient may be there already."""
        if layer.row_size:
            samples = _ENTRY_SAMPLES * layer.most_entries / layer.fan_in
            heights = self._tile_heights(layer.fan_in, ENTRY_TILE_ROWS)
            return layer.row_size // self.lanes * heights * (samples + _UPDATE_SAMPLES)
        heights = self._tile_heights(layer.fan_in, self.tile_rows)
        firsts = self.panel_width * np.arange(self._regular_panels(layer))
        columns = np.minimum(self.panel_width, layer.fan_out - firsts)[:, np.newaxis]
        if self._narrow:
            return (columns * heights).ravel()
        samples = 0.0 if in_phase_1 else self.capacity * (self._term_density if layer.marks else 1.0)
        # A tile of few rows takes its vectors no better, and the biases about as long as one row.
        update = _UPDATE_SAMPLES + (_TRANSPOSITION_SAMPLES if layer.transposed else 0)
        low = -(-columns // self.lanes) * (heights + 0.5) * (samples + update)
        blocks = [low[:, block : block + layer.block_tiles] for block in range(0, layer.row_tiles, layer.block_tiles)]
        costs = [block.ravel() for block in blocks]
        if layer.remainder_units:
            heights = self._tile_heights(layer.fan_in, self.panel_width)
            products = (layer.remainder_units + 0.5) * -(-heights // self.lanes)
            products[-1] = heights[-1] + 0.5
            costs.append(products * (0 if in_phase_1 else self.capacity) + (heights + 0.5) * update)
        return np.concatenate(costs)

    def n_panels(self, columns: int) -> int:
        """Return the number of panels of a matrix."""
        return -(-columns // self.panel_width)

    def write_ones(self, workspace: np.ndarray) -> None:
        """Write what stands below a narrow network's activations for good, and is multiplied by the biases."""
        for layer in self.places:
            size = self.n_panels(self.capacity) * (layer.fan_in + 1) * self.panel_width
            panels = workspace[layer.inputs : layer.inputs + size].reshape(-1, layer.fan_in + 1, self.panel_width)
            panels[:, layer.fan_in] = 1

    def _numbers(self, count: int) -> int:
        """Reserve `count` numbers, rounded up to whole rows of panels and to whole cache lines."""
        place = self.size
        self.size += -(-count // self._grain) * self._grain
        return place

    def _by_samples(self, units: int) -> int:
        """Reserve samples by units, or units by samples."""
        return self._panels(units, self.capacity) if self._narrow else self._panels(self.capacity, units)

    def _activations(self, units: int) -> int:
        return self._by_samples(units + self._narrow)  # transposed, they have a row of ones below

    def _half(self, layer: LayerPlaces) -> int:
        if self._narrow:  # whole tiles
            return self._numbers(layer.row_tiles * self.n_panels(layer.fan_out) * self.panel_width**2)
        rows = self._regular_panels(layer) * (layer.fan_in + 1)
        if layer.remainder_units:  # tiles that are to be transposed, and the biases
            rows += (layer.remainder_tiles - 1) * self._transposed_rows + 1
        return self._numbers(rows * self.panel_width)

    def _panels(self, rows: int, columns: int) -> int:
        return self._numbers(self.n_panels(columns) * rows * self.panel_width)
