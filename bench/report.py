"""From the JSON of ``bench.rivals`` to tables and figures.

``python -m bench.report`` writes a Markdown table and the figures beside the raw results.
``python -m bench.report --write`` also renews what is committed: ``bench/baseline.json`` (shares of
peak and ratios, which hold across machines better than seconds do), the README's table,
``docs/benchmarks.md`` and the figures in ``docs/figures``. ``--check`` says whether tables and
baseline agree, as a test does too: no figure in them is typed by hand.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bench.machine import ROOT, quartiles

BASELINE = ROOT / "bench" / "baseline.json"
README = ROOT / "README.md"
BENCHMARKS = ROOT / "docs" / "benchmarks.md"
FIGURES = ROOT / "docs" / "figures"
# How its commit is named, beside those of the workloads.
ACCURACY = "time to accuracy"
BEGIN, END = "<!-- rivals: python -m bench.report --write -->", "<!-- /rivals -->"
RIVALS = {
    "scikit-learn": "scikit-learn",
    "pytorch": "PyTorch",
    "jax": "JAX",
    "reference": "NumPy",
}
CONTENDER_TITLES = {
    "fastmlp": "fastmlp",
    "fastmlp-first": "fastmlp, nothing compiled yet",
    **RIVALS,
}


# --- numbers -------------------------------------------------------------------------------------


def significant(value: float, digits: int = 3) -> float:
    """Round to a few significant digits: more would be noise."""
    return float(f"{value:.{digits}g}")


def three(values: list[float]) -> list[float]:
    """Return quartiles, rounded."""
    return [significant(q) for q in quartiles(values)]


def summarise_cell(cell: dict[str, Any]) -> dict[str, Any] | None:
    """Reduce one cell to fastmlp's time, its share of peak and the ratios, round by round."""
    contenders = {name: record["microseconds"] for name, record in cell["contenders"].items() if "error" not in record}
    if "fastmlp" not in contenders:
        return None
    own, peaks = contenders.pop("fastmlp"), cell["peak_gflops"]
    gflops = [cell["flops_per_step"] / microseconds / 1e3 for microseconds in own]
    # Paired within a round, so that the machine's drift cancels.
    rounds = zip(gflops, peaks, strict=True)
    summary: dict[str, Any] = {
        key: cell[key] for key in ("workload", "dtype", "n_threads", "layer_units", "batch_size", "solver")
    }
    return summary | {
        "flops_per_step": cell["flops_per_step"],
        "microseconds": three(own),
        "gflops": three(gflops),
        "round_trip_nanoseconds": three(cell["round_trip_nanoseconds"]) if cell["round_trip_nanoseconds"] else None,
        "share_of_peak": three([g / peak for g, peak in rounds]),
        "speed_ups": {
            name: three([other / mine for other, mine in zip(times, own, strict=True)])
            for name, times in contenders.items()
        },
    }


def summarise(results: dict[str, Any]) -> dict[str, Any]:
    """Reduce raw results to what is worth keeping in the repository."""
    from bench.workloads import STEP_WORKLOADS

    rows = [row for cell in results["cells"].values() if (row := summarise_cell(cell))]
    order = {name: index for index, name in enumerate(STEP_WORKLOADS)}
    rows.sort(key=lambda row: (row["dtype"], order[row["workload"]], row["n_threads"]))
    measured = {(cell["workload"], cell["commit"]) for cell in results["cells"].values()}
    accuracy = {}
    for name, record in results["accuracy"].items():
        measured.add((ACCURACY, record["commit"]))
        runs = [run for run in record["runs"] if "error" not in run]
        if runs:
            memory = [run["mebibytes"] for run in runs if run["mebibytes"] is not None]
            accuracy[name] = {
                "seconds": three([run["seconds"] for run in runs]),
                "epochs": [len(run["accuracies"]) for run in runs],
                "mebibytes": significant(max(memory)) if memory else None,
            }
    versions = {}
    for cell in results["cells"].values():
        for record in cell["contenders"].values():
            versions.update(record.get("versions", {}))
    return {
        "renew": "python -m bench.rivals && python -m bench.report --write",
        "machine": results["machine"],
        "peak_gflops": {
            f"{cell['dtype']}/{cell['n_threads']}": significant(quartiles(cell["peak_gflops"])[1])
            for cell in results["cells"].values()
        },
        "gigabytes_a_second": {n: significant(b) for n, b in results["bandwidth"].items()},
        "commits": {
            commit: [name for name in (*order, ACCURACY) if (name, commit) in measured]
            for commit in sorted({commit for _, commit in measured})
        },
        "versions": dict(sorted(versions.items())),
        "rows": rows,
        "accuracy": accuracy,
    }


# --- tables --------------------------------------------------------------------------------------


def time_text(microseconds: float) -> str:
    """Write a time with three significant digits and its unit."""
    for unit, size in (("s", 1e6), ("ms", 1e3), ("µs", 1.0)):
        if microseconds >= size or size == 1.0:
            value = significant(microseconds / size)
            return f"{value:g} {unit}"
    raise AssertionError("unreachable")


def ratio_text(values: list[float] | None) -> str:
    """Write a ratio; a failed rival has none."""
    return "–" if values is None else f"{significant(values[1], 2 if values[1] < 100 else 3):g}"


def spread_text(values: list[float]) -> str:
    """Write a ratio with its quartiles."""
    low, median, high = values
    return f"{median:g} ({low:g}–{high:g})"


def most_possible_text(row: dict[str, Any]) -> str:
    """Write how many times as fast as the best rival a program that ran at the peak would be."""
    ratios = [ratio[1] for ratio in row["speed_ups"].values()]
    return f"{significant(min(ratios) / row['share_of_peak'][1], 2):g}" if ratios else "–"


def round_trip_text(row: dict[str, Any]) -> str:
    """Write the quartiles of the round trip between cores; one thread has none."""
    nanoseconds = row["round_trip_nanoseconds"]
    return "–" if nanoseconds is None else f"{nanoseconds[0]:.0f} – {nanoseconds[2]:.0f} ns"


def table(header: list[str], rows: list[list[str]]) -> str:
    """Write a Markdown table: names to the left, figures to the right."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *rows])


def network_text(row: dict[str, Any]) -> str:
    """Write a network in the usual short form."""
    solver = {"sgd": "SGD", "adam": "Adam"}[row["solver"]]
    units = "-".join(str(units) for units in row["layer_units"])
    return f"{units}, batch {row['batch_size']:,}, {solver}"


def accuracy_table(baseline: dict[str, Any]) -> str:
    """Write the table of time to accuracy."""
    rows = [
        [
            CONTENDER_TITLES[name],
            f"{record['seconds'][1]:g} s",
            ", ".join(str(n) for n in record["epochs"]),
            "–" if record["mebibytes"] is None else f"{record['mebibytes']:,.0f} MiB",
        ]
        for name, record in baseline["accuracy"].items()
    ]
    return table(["98 % on MNIST's test images", "seconds", "epochs", "peak memory"], rows)


def machine_text(baseline: dict[str, Any]) -> str:
    """Say in a sentence what the figures were measured on."""
    machine = baseline["machine"]
    peaks = ", ".join(
        f"{value:g} GFLOP/s ({key.replace('/', ', threads: ')})" for key, value in baseline["peak_gflops"].items()
    )
    versions = ", ".join(f"{name} {version}" for name, version in baseline["versions"].items())
    commits = " and ".join(
        f"`{commit[:7]}` ({', '.join(name if name == ACCURACY else f'`{name}`' for name in names)})"
        for commit, names in baseline["commits"].items()
    )
    return (
        f"Measured on {machine['cores']} cores of one {machine['processor']} "
        f"({machine['llvm_name']}, vectors of {8 * machine['vector_bytes']} bits), "
        f"{machine['system']}, Python {machine['python']}; multiply-add peak {peaks}. {versions}. "
        f"At commit {commits}."
    )


def readme_block(baseline: dict[str, Any] | None) -> str:
    """Write what stands in the README between the two markers."""
    if baseline is None:
        return "\n"
    rows = [row for row in baseline["rows"] if row["dtype"] == "float32"]
    lines = [
        [
            f"`{row['workload']}` {network_text(row)}",
            str(row["n_threads"]),
            time_text(row["microseconds"][1]),
            f"{100 * row['share_of_peak'][1]:.0f} %",
            *[ratio_text(row["speed_ups"].get(rival)) for rival in RIVALS],
        ]
        for row in rows
    ]
    header = ["float32", "threads", "a step", "of peak", *[f"× {t}" for t in RIVALS.values()]]
    parts = [
        "Time of one training step through `fit`, its share of the processor's multiply-add peak, and how many times "
        "as long the others take for the same step on as many threads. Zeros of MNIST's images count in the peak, "
        "though fastmlp leaves most of them out. PyTorch is eager, JAX has the whole fit in one jitted scan, and NumPy "
        "is `fastmlp.reference`. All are medians, and a row is measured in turn in one run by "
        "`python -m bench.rivals`. Quartiles and float64 are in [`docs/benchmarks.md`](docs/benchmarks.md).",
        table(header, lines),
    ]
    if baseline["accuracy"]:
        parts += [
            "From starting Python to 98 % accuracy, all in (imports, reading, compiling, testing):",
            accuracy_table(baseline),
        ]
    parts += [
        machine_text(baseline),
        "![How many times faster a training step is](docs/figures/speedups.png)",
        "![Share of the multiply-add peak by size of network](docs/figures/roofline.png)",
    ]
    return "\n" + "\n\n".join(parts) + "\n"


def full_report(baseline: dict[str, Any]) -> str:
    """Write the whole report, quartiles and both precisions."""
    parts = [
        "# Benchmarks",
        "Written by `python -m bench.report --write` from what `python -m bench.rivals` measured; "
        "do not edit. Figures are medians with quartiles. Ratios are paired within a round: each "
        "contender's time divided by fastmlp's in the same round. Shares of peak are of the "
        "multiply-add peak measured in the same round on as many threads; only the three matrix "
        "products count as work, and all of them, though fastmlp leaves most zeros of MNIST's images out. "
        "*Best rival / peak*: how many times as long as the products alone would take at that peak the best rival "
        "takes; on this machine no program that multiplies all numbers can be more times as fast as that rival. "
        "*Round trip*: of a cache line to another core and back, before each round. The host of a virtual machine "
        "moves its processors: 40 to 100 ns are cores that share a cache, 300 ns and more cores that do not.",
        machine_text(baseline),
    ]
    for dtype in sorted({row["dtype"] for row in baseline["rows"]}):
        rows = [row for row in baseline["rows"] if row["dtype"] == dtype]
        lines = [
            [
                f"`{row['workload']}` {network_text(row)}",
                str(row["n_threads"]),
                " – ".join(time_text(row["microseconds"][i]) for i in (0, 2)),
                f"{row['gflops'][1]:g}",
                f"{100 * row['share_of_peak'][1]:.1f} %",
                *[spread_text(row["speed_ups"][rival]) if rival in row["speed_ups"] else "–" for rival in RIVALS],
                most_possible_text(row),
                round_trip_text(row),
            ]
            for row in rows
        ]
        ratios = [f"{title} / fastmlp" for title in RIVALS.values()]
        header = [
            "workload",
            "threads",
            "a step, quartiles",
            "GFLOP/s",
            "of peak",
            *ratios,
            "best rival / peak",
            "round trip",
        ]
        parts += [f"## {dtype}", table(header, lines)]
    if baseline["accuracy"]:
        parts += ["## Time to accuracy", accuracy_table(baseline)]
    return "\n\n".join(parts) + "\n"


# --- files ---------------------------------------------------------------------------------------


def read_baseline() -> dict[str, Any] | None:
    """Read the committed baseline, if there is one."""
    if not BASELINE.exists():
        return None
    baseline: dict[str, Any] = json.loads(BASELINE.read_text(encoding="utf-8"))
    return baseline


def split_readme() -> tuple[str, str, str]:
    """Return the README before, between and after the markers."""
    text = README.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    between, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{README} lacks the markers {BEGIN} and {END}")
    return before, between, after


def differences() -> list[str]:
    """Return which generated texts are not what the baseline gives."""
    baseline = read_baseline()
    wrong = []
    if split_readme()[1] != readme_block(baseline):
        wrong.append(f"the table in {README.name}")
    if baseline is not None and (
        not BENCHMARKS.exists() or BENCHMARKS.read_text(encoding="utf-8") != full_report(baseline)
    ):
        wrong.append(str(BENCHMARKS.relative_to(ROOT)))
    return wrong


def write_report(results: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Write table and figures beside the raw results; return the summary."""
    from bench.figures import write_figures

    baseline = summarise(results)
    if baseline["rows"]:
        (folder / "rivals.md").write_text(full_report(baseline), encoding="utf-8")
        write_figures(baseline, results, folder)
        print(f"{folder / 'rivals.md'}, {folder / 'speedups.png'}, {folder / 'roofline.png'}")
    return baseline


def write_committed(results: dict[str, Any]) -> None:
    """Renew everything in the repository that comes from measuring."""
    from bench.figures import write_figures

    baseline = summarise(results)
    BASELINE.write_text(json.dumps(baseline, indent=1) + "\n", encoding="utf-8")
    before, _, after = split_readme()
    block = readme_block(baseline)
    README.write_text(before + BEGIN + block + END + after, encoding="utf-8")
    FIGURES.mkdir(parents=True, exist_ok=True)
    BENCHMARKS.write_text(full_report(baseline), encoding="utf-8")
    write_figures(baseline, results, FIGURES)
    print(f"written: {BASELINE}, {README}, {BENCHMARKS}, {FIGURES}")


def main() -> int:
    """Write or check."""
    from bench.rivals import RESULTS

    parser = argparse.ArgumentParser(
        prog="python -m bench.report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="JSON of bench.rivals")
    parser.add_argument("--write", action="store_true", help="renew what is committed")
    parser.add_argument("--check", action="store_true", help="do the tables fit the baseline?")
    arguments = parser.parse_args()
    if arguments.check:
        wrong = differences()
        for name in wrong:
            print(f"{name} differs from {BASELINE.name}: python -m bench.report --write")
        return min(len(wrong), 1)
    if not arguments.results.exists():
        print(f"{arguments.results} does not exist: python -m bench.rivals", file=sys.stderr)
        return 2
    results = json.loads(arguments.results.read_text(encoding="utf-8"))
    write_report(results, arguments.results.parent)
    if arguments.write:
        write_committed(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
