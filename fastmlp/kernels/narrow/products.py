"""The second orientation, for narrow networks: samples fill the lanes.

Where layers have a handful of units, vectors along units would be mostly padding. So activations and deltas are kept
transposed: A^T (units x samples) in column panels of NR *samples*, ``[samples / NR][units + 1][NR]``. The weights stay
as they are. The three products become:

===============  ====================  ==============  ==================  ============================
product          rows of the tile      vector columns  inner dimension     micro-kernel
===============  ====================  ==============  ==================  ============================
forward          units of layer l + 1  samples         units of layer l    ``batched_gemm_tn``
backward data    units of layer l      samples         units of layer l+1  ``batched_gemm_nn``
weight gradient  units of layer l      units of l + 1  samples             (see ``narrow.gradients``)
===============  ====================  ==============  ==================  ============================

The row of A^T behind the units holds ones, from the beginning and for good, so that the bias is one more row of W to
multiply by, and its gradient one more row of the weight gradient. No copy of W transposed is needed. Lanes beyond the
last sample hold deltas of zero, so they count for nothing.
"""

from __future__ import annotations

from fastmlp.kernels.epilogues import finish_deltas, finish_forward, floor_of, mask_of
from fastmlp.kernels.tiles import evenly
from fastmlp.microkernels.narrow_tiles import MOST_ROWS, batched_gemm_nn, batched_gemm_tn
from fastmlp.simd.jit import inner
from fastmlp.simd.vectors import lane_count, panel_width

# Activations and deltas that go through all layers together are no more than this.
_FIRST_LEVEL_BYTES = 1 << 15


@inner
def panels_at_once(workspace, layers, n_layers):
    """Return how many panels of samples go through the network together: so many as the first-level cache holds.

    What a layer's loops need besides the numbers themselves, they then set up once for all these panels.
    """
    rows = 0
    for number in range(n_layers):
        rows += layers[number].fan_in + 1 + layers[number].fan_out
    return max(1, _FIRST_LEVEL_BYTES // (rows * panel_width(workspace) * workspace.itemsize))


@inner
def rows_of(workspace, step, units, panels, columns):
    """Return stride, rows and columns for a loop over the units of some panels, `step` apart.

    Whole panels are a long row each. One of which less is in use stands alone: its rows are the units.
    """
    width = panel_width(workspace)
    if columns == width:
        return step, panels, units * width
    return width, units, columns


@inner
def narrow_forward(workspace, functions, layer, first, panels, vectors):
    """A_{l+1}^T = f(W^T A_l^T) for some panels of samples from panel `first` on, the bias being W's last row.

    outputs, inputs: panels of fan_out + 1 and fan_in + 1 rows, the last of them ones.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    floor = floor_of(workspace, layer)
    inputs_step = (layer.fan_in + 1) * width
    outputs_step = (layer.fan_out + 1) * width
    outputs = layer.outputs + first * outputs_step
    unit = 0
    while unit < layer.fan_out:
        rows = evenly(min(layer.fan_out - unit, width - unit % width), MOST_ROWS[vectors])
        weights = layer.parameters + unit // width * inputs_step + unit % width
        batched_gemm_tn(
            workspace, functions, outputs + unit * width, outputs_step, weights, layer.inputs + first * inputs_step,
            inputs_step, layer.fan_in + 1, rows, vectors, panels, floor,
        )  # fmt: skip
        unit += rows
    stride, rows, columns = rows_of(workspace, outputs_step, layer.fan_out, panels, vectors * lanes)
    finish_forward(workspace, layer, outputs, stride, rows, columns)


@inner
def narrow_backward_data(workspace, functions, layer, below, first, panels, vectors):
    """delta_l^T = (W delta_{l+1}^T) * f'(A_l^T) for some panels of samples from panel `first` on.

    deltas: panels of fan_in (below) and fan_out rows.
    """
    width = panel_width(workspace)
    lanes = lane_count(workspace)
    out_step = layer.fan_in * width
    deltas_step = layer.fan_out * width
    activations_step = (layer.fan_in + 1) * width
    all_out = below.deltas + first * out_step
    all_activations = below.outputs + first * activations_step
    unit = 0
    while unit < layer.fan_in:
        rows = evenly(layer.fan_in - unit, MOST_ROWS[vectors])
        weights = layer.parameters + unit * width
        batched_gemm_nn(
            workspace, functions, all_out + unit * width, out_step, weights, layer.deltas + first * deltas_step,
            deltas_step, layer.fan_out, rows, vectors, panels, activations_step,
            mask_of(below, all_activations + unit * width), activations_step,
        )  # fmt: skip
        unit += rows
    stride, rows, columns = rows_of(workspace, out_step, layer.fan_in, panels, vectors * lanes)
    activations_stride, _, _ = rows_of(workspace, activations_step, layer.fan_in, panels, vectors * lanes)
    finish_deltas(workspace, below, all_out, stride, all_activations, activations_stride, rows, columns)
