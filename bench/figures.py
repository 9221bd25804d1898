"""Two figures for people: how many times faster, and how close to the hardware."""

from pathlib import Path
from typing import Any

from bench.machine import quartiles

COLOURS = {
    "fastmlp": "#c1272d",
    "scikit-learn": "#f7931e",
    "pytorch": "#8e44ad",
    "jax": "#2b7bba",
    "reference": "#7f8c8d",
}
TITLES = {
    "fastmlp": "fastmlp",
    "scikit-learn": "scikit-learn",
    "pytorch": "PyTorch, eager",
    "jax": "JAX, one jitted scan",
    "reference": "NumPy",
}


def write_figures(baseline: dict[str, Any], results: dict[str, Any], folder: Path) -> None:
    """Draw both figures into a folder, from float32 where it was measured."""
    import matplotlib as mpl

    mpl.use("Agg")
    dtypes = {row["dtype"] for row in baseline["rows"]}
    dtype = "float32" if "float32" in dtypes else "float64"
    with mpl.rc_context({"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}):
        draw_speed_ups(baseline, dtype, folder / "speedups.png")
        draw_roofline(baseline, results, dtype, folder / "roofline.png")


def draw_speed_ups(baseline: dict[str, Any], dtype: str, path: Path) -> None:
    """Bars: how many times as long as fastmlp each rival takes, on all threads."""
    from matplotlib import pyplot as plt

    n_threads = max(row["n_threads"] for row in baseline["rows"])
    rows = [row for row in baseline["rows"] if row["dtype"] == dtype and row["n_threads"] == n_threads]
    rivals = [name for name in TITLES if any(name in row["speed_ups"] for row in rows)]
    figure, axes = plt.subplots(figsize=(9, 4.2), layout="constrained")
    width = 0.8 / max(1, len(rivals))
    for index, rival in enumerate(rivals):
        for position, row in enumerate(rows):
            if rival not in row["speed_ups"]:
                continue
            low, median, high = row["speed_ups"][rival]
            x = position + (index - (len(rivals) - 1) / 2) * width
            axes.bar(x, median, width, color=COLOURS[rival], label=TITLES[rival])
            axes.errorbar(x, median, [[median - low], [high - median]], color="black", lw=0.8)
            text = f"{median:.0f}" if median >= 10 else f"{median:.1f}"
            axes.annotate(text, (x, high), (0, 2), textcoords="offset points", ha="center", fontsize=8)
    axes.axhline(1, color="black", lw=0.8)
    axes.set_yscale("log")
    axes.set_xticks(range(len(rows)), [label(row) for row in rows], fontsize=8)
    axes.set_ylabel("times fastmlp's time for a step")
    threads = "thread" if n_threads == 1 else "threads"
    axes.set_title(f"The same training step elsewhere: {dtype}, {n_threads} {threads} each")
    handles, labels = axes.get_legend_handles_labels()
    unique = dict(zip(labels, handles, strict=True))
    axes.legend(unique.values(), unique.keys(), frameon=False, ncols=len(unique))
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def label(row: dict[str, Any]) -> str:
    """Write a workload on two lines."""
    return row["workload"] + "\n" + "-".join(str(units) for units in row["layer_units"])


def draw_roofline(baseline: dict[str, Any], results: dict[str, Any], dtype: str, path: Path) -> None:
    """Lines: share of the multiply-add peak against the work of a step.

    All products count as work: a step that leaves zeros of X out may take less time than they would at the peak.
    """
    from matplotlib import pyplot as plt

    counts = sorted({row["n_threads"] for row in baseline["rows"]})
    names = {row["workload"] for row in baseline["rows"]}
    figure, axes = plt.subplots(figsize=(9, 4.2), layout="constrained")
    top = 100.0
    for name, title in TITLES.items():
        for n_threads in counts:
            points = sorted(
                (cell["flops_per_step"], 100 * share_of_peak(cell, name), cell["workload"])
                for cell in results["cells"].values()
                if cell["dtype"] == dtype
                and cell["n_threads"] == n_threads
                and cell["workload"] in names
                and "error" not in cell["contenders"].get(name, {"error": "missing"})
            )
            if not points:
                continue
            top = max(top, *(point[1] for point in points))
            own = name == "fastmlp"
            axes.plot(
                [point[0] for point in points],
                [point[1] for point in points],
                color=COLOURS[name],
                lw=2.2 if own else 1,
                alpha=1 if own else 0.7,
                marker="o",
                ms=5 if own else 3,
                ls="-" if n_threads == counts[0] else "--",
                label=f"{title}, {n_threads} {'thread' if n_threads == 1 else 'threads'}",
            )
            if own and n_threads == counts[0]:
                for x, y, workload in points:
                    axes.annotate(
                        workload,
                        (x, y),
                        (0, 7),
                        textcoords="offset points",
                        ha="center",
                        fontsize=8,
                    )
    axes.axhline(100, color="black", lw=0.8)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.08 * top)
    axes.set_xlabel("multiplications and additions of a training step, those with zeros of X included")
    axes.set_ylabel("% of the multiply-add peak")
    axes.set_title(f"The products of a training step, all in, beside the multiply-add peak ({dtype})")
    # Beside the axes: within them some line or other would run through it.
    figure.legend(frameon=False, fontsize=8, loc="outside right upper")
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def share_of_peak(cell: dict[str, Any], name: str) -> float:
    """Return the median share of peak of one contender, paired within the rounds."""
    pairs = zip(cell["contenders"][name]["microseconds"], cell["peak_gflops"], strict=True)
    return quartiles([cell["flops_per_step"] / us / 1e3 / peak for us, peak in pairs])[1]
