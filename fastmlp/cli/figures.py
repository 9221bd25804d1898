"""Figures of the demos, drawn with matplotlib.

matplotlib comes with the ``demo`` extra and is imported only when a figure is drawn. Figures are
made without pyplot: no window, no global state, and no display is needed.
"""

from pathlib import Path

import numpy as np

from fastmlp.files.atomic import check_writable, replaced_file
from fastmlp.process.extras import import_extra
from fastmlp.reference import ReferenceNetwork

# Colours that people who don't tell red from green can tell apart (Okabe and Ito).
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#6B6B6B"
CLASS_COLOURS = (BLUE, ORANGE)

STYLE = {
    "axes.edgecolor": GREY,
    "axes.labelcolor": "#333333",
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "font.size": 10,
    "legend.frameon": False,
    "xtick.color": GREY,
    "ytick.color": GREY,
}


def check_figure_path(path):
    """Check that a figure could be drawn and written to a file, before the work that it shows.

    Parameters
    ----------
    path : path
        The file; its suffix names the format.

    Raises
    ------
    fastmlp.process.extras.MissingExtraError
        If matplotlib is not installed.
    ValueError
        If matplotlib can't write this format.
    OSError
        If the file can't be written.
    """
    matplotlib_figure = import_extra(["matplotlib.figure"], "demo", "Figures need matplotlib")
    formats = matplotlib_figure.Figure().canvas.get_supported_filetypes()
    suffix = Path(path).suffix.removeprefix(".").lower()
    if suffix not in formats:
        raise ValueError(f"{str(path)!r} doesn't end in a format that figures can have: {', '.join(sorted(formats))}.")
    check_writable(path)


def save_figure(figure, path):
    """Write a figure to a file, whole or not at all."""
    with replaced_file(path) as file:
        figure.savefig(file, format=Path(path).suffix.removeprefix(".").lower(), dpi=120)


def draw_demo(problem, compiled, reference):
    """Draw what a demo learnt, both loss curves, and the seconds of each.

    Parameters
    ----------
    problem : fastmlp.cli.demos.Problem
        What was trained.
    compiled, reference : fastmlp.cli.comparison.Trained
        What came of it.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib
    from matplotlib.figure import Figure

    draw_result = {
        "digits": _draw_images,
        "mnist": _draw_images,
        "planar": _draw_decision_regions,
        "regression": _draw_predictions,
    }[problem.name]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13, 4.6), layout="constrained")
        result, right = figure.subfigures(1, 2, width_ratios=[1, 1.5])
        losses, seconds = right.subplots(1, 2, width_ratios=[2, 1])
        draw_result(result, problem, compiled)
        _draw_losses(losses, problem, compiled, reference)
        _draw_seconds(seconds, compiled, reference)
        figure.suptitle(f"fastmlp demo {problem.name}: {problem.title}", color=GREY, fontsize=11)
    return figure


def _draw_losses(axes, problem, compiled, reference):
    x = np.arange(problem.n_epochs) + (0 if problem.full_batch else 1)
    marker = "o" if problem.n_epochs <= 50 else None
    for trained, label, style in (
        (compiled, "fastmlp", {"color": BLUE, "linewidth": 4, "alpha": 0.45, "marker": marker}),
        (reference, "plain NumPy", {"color": "black", "linewidth": 1.2, "linestyle": "--"}),
    ):
        y = np.array([problem.printed_loss(loss) for loss in trained.losses])
        axes.plot(x, y, label=label, **style)
    if y.min() > 0 and y.max() > 10 * y.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_title(f"{problem.loss_name} of both")
    axes.set_xlabel("iteration" if problem.full_batch else "epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(which="major", color="#DDDDDD", linewidth=0.8)
    axes.legend()


def _draw_seconds(axes, compiled, reference):
    seconds = [compiled.seconds, reference.seconds]
    bars = axes.bar(["fastmlp", "plain NumPy"], seconds, color=[BLUE, "#BBBBBB"], width=0.6)
    axes.bar_label(bars, [f"{value:.3g} s" for value in seconds], padding=3)
    axes.set_title(f"{reference.seconds / compiled.seconds:.1f} times as fast")
    axes.set_ylabel("seconds of training")
    axes.margins(y=0.1)


def _draw_images(subfigure, problem, trained):
    """Show test images, those it gets wrong first, each with the digit that the network sees."""
    predicted = trained.outputs.argmax(axis=1)
    wrong = np.flatnonzero(predicted != problem.y_score)
    right = np.flatnonzero(predicted == problem.y_score)
    n_rows, n_columns = 4, 7
    n_wrong = min(len(wrong), 2 * n_columns)
    shown = np.concatenate([wrong[:n_wrong], right])[: n_rows * n_columns]
    side = int(np.sqrt(problem.layer_units[0]))
    subfigure.suptitle(
        f"{problem.score_name} {trained.score:.2%}: {len(wrong):,} of {len(predicted):,} wrong",
        fontsize=11,
        fontweight="bold",
    )
    for axes in subfigure.subplots(n_rows, n_columns).flat:
        axes.set_axis_off()
    for axes, index in zip(subfigure.axes, shown, strict=False):
        axes.imshow(problem.X_score[index].reshape(side, side), cmap="gray_r")
        is_wrong = predicted[index] != problem.y_score[index]
        label = f"{predicted[index]}, not {problem.y_score[index]}" if is_wrong else predicted[index]
        axes.set_title(
            label,
            color=ORANGE if is_wrong else GREY,
            fontsize=8,
            fontweight="normal",
            loc="center",
            pad=2,
        )


def _draw_decision_regions(subfigure, problem, trained):
    """Show the training points over the regions that the network assigns to the classes."""
    from matplotlib.colors import LinearSegmentedColormap

    network = ReferenceNetwork(problem.layer_units, activation=problem.activation, loss=problem.loss)
    network.coefs, network.intercepts = trained.coefs, trained.intercepts
    X = problem.X_score
    low, high = X.min() - 0.5, X.max() + 0.5
    line = np.linspace(low, high, 400)
    grid = np.stack(np.meshgrid(line, line), axis=-1).reshape(-1, 2)
    probability = network.predict(grid).reshape(len(line), len(line))

    axes = subfigure.subplots()
    tints = LinearSegmentedColormap.from_list("classes", ["#BBD7EB", "#FFFFFF", "#F4CDB5"])
    axes.pcolormesh(line, line, probability, cmap=tints, vmin=0, vmax=1, rasterized=True)
    axes.contour(line, line, probability, levels=[0.5], colors="#333333", linewidths=1)
    for label, colour in enumerate(CLASS_COLOURS):
        points = X[problem.y_score == label]
        axes.scatter(
            points[:, 0],
            points[:, 1],
            s=14,
            color=colour,
            edgecolor="white",
            linewidth=0.4,
            label=f"class {label}",
        )
    axes.set_aspect("equal")
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    axes.set_title(f"decision regions, {problem.score_name} {trained.score:.2%}")
    axes.legend(loc="upper right", handletextpad=0.1, borderpad=0.2)


def _draw_predictions(subfigure, problem, trained):
    """Show predicted against true values; a perfect fit lies on the diagonal."""
    axes = subfigure.subplots()
    low, high = problem.y_score.min(), problem.y_score.max()
    axes.plot([low, high], [low, high], color=GREY, linewidth=1)
    for output, colour in enumerate((BLUE, ORANGE, "#009E73")):
        axes.scatter(
            problem.y_score[:, output],
            trained.outputs[:, output],
            s=14,
            color=colour,
            edgecolor="white",
            linewidth=0.4,
            label=f"output {output}",
        )
    axes.set_aspect("equal")
    axes.set_title(f"predicted against true, {problem.score_name} {trained.score:.4f}")
    axes.set_xlabel("true")
    axes.set_ylabel("predicted")
    axes.legend()
