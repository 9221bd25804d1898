"""The ``fastmlp`` command.

Bad input of any kind ends with one sentence on standard error and exit status 2.
"""

import argparse
import os
import sys
import time
from contextlib import contextmanager

from fastmlp import __version__
from fastmlp.reference import HIDDEN_ACTIVATIONS
from fastmlp.training.optimizer_state import SOLVERS

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130  # as shells have it: 128 + SIGINT
MOST_EPOCHS = 10_000_000


class BadInput(Exception):
    """The user's input is at fault; the message is the sentence to say so."""


class OneSentenceParser(argparse.ArgumentParser):
    """A parser whose complaints are one sentence, without the usage before it."""

    def error(self, message):
        """Raise BadInput with argparse's message as a sentence."""
        raise BadInput(f"{message[:1].upper()}{message[1:]}; {self.prog} --help shows what there is.")


@contextmanager
def bad_input():
    """Turn the errors of reading and writing files into BadInput."""
    try:
        yield
    except OSError as error:
        if error.strerror is None or error.filename is None:
            raise BadInput(_sentence(error)) from error
        raise BadInput(f"{str(error.filename)!r}: {error.strerror}.") from error
    except (ImportError, ValueError) as error:
        raise BadInput(_sentence(error)) from error


def _sentence(error):
    text = " ".join(str(error).split()) or type(error).__name__
    return text if text.endswith((".", "!", "?")) else f"{text}."


# --- arguments -----------------------------------------------------------------------------------


def _integer(lowest, highest):
    def parse(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {lowest} to {highest}")
        return value

    return parse


def _number(lowest, highest, *, open_ends=False):
    def parse(text):
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        inside = lowest < value < highest if open_ends else lowest <= value <= highest
        if not inside:
            between = "between" if open_ends else "from"
            to = "and" if open_ends else "to"
            raise argparse.ArgumentTypeError(f"{text!r} is not a number {between} {lowest:g} {to} {highest:g}")
        return value

    return parse


def _layers(text):
    if text.strip() in ("", "none"):
        return ()
    parse = _integer(1, 100_000)
    return tuple(parse(size.strip()) for size in text.split(","))


def _add_common(parser):
    parser.add_argument("--epochs", type=_integer(1, MOST_EPOCHS), metavar="N", help="epochs or iterations to train")
    parser.add_argument("--threads", type=_integer(1, 4096), metavar="N", help="threads (default: all there are)")
    parser.add_argument("--dtype", choices=["float32", "float64"], help="precision of all arithmetic")
    parser.add_argument("--seed", type=_integer(0, 2**32 - 1), default=0, metavar="N", help="random seed (default: 0)")


def _add_reading(parser):
    file = "the table: CSV or other text, .parquet or .npz, compressed or not; - is standard input"
    parser.add_argument("file", metavar="FILE", help=file)
    reading = parser.add_argument_group("how the text is written, which is found out otherwise")
    reading.add_argument("--separator", metavar="CHAR", help="what separates cells: a character, or tab")
    reading.add_argument("--decimal", choices=[".", ","], help="the decimal sign")
    reading.add_argument("--encoding", metavar="NAME", help="such as utf-8, utf-16, cp1252")
    reading.add_argument(
        "--header", action=argparse.BooleanOptionalAction, help="whether there is a line of names (default: there is)"
    )


def build_parser():
    """Build the parser of the command line."""
    parser = OneSentenceParser(prog="fastmlp", description="Multilayer perceptrons trained at the speed of the CPU.")
    parser.add_argument("--version", action="version", version=f"fastmlp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    demo = commands.add_parser(
        "demo",
        help="train a demo beside plain NumPy and compare",
        description="Train the compiled trainer and plain NumPy from the same start on the same minibatches.",
    )
    demo.add_argument(
        "name",
        nargs="?",
        default="digits",
        choices=["digits", "mnist", "planar", "regression"],
        metavar="NAME",
        help="digits (default), mnist, planar or regression",
    )
    demo.add_argument("--plot", metavar="FILE.png", help="write the figure to this file")
    _add_common(demo)
    demo.add_argument("--data-home", metavar="DIR", help="folder with MNIST's IDX files (default: FASTMLP_DATA)")
    demo.add_argument("--preset", choices=["seed", "tuned"], help="for mnist: the original lesson's, or the better one")
    demo.set_defaults(run=run_demo)

    train = commands.add_parser(
        "train",
        help="train on a table of your own",
        description="Train on a table with numeric columns: scaled, scored on held-out rows.",
    )
    _add_reading(train)
    train.add_argument("--target", required=True, metavar="COLUMN", help="the column to predict")
    train.add_argument(
        "--drop", nargs="+", action="extend", default=[], metavar="COLUMN", help="columns to leave out; may be repeated"
    )
    train.add_argument("--keep-all", action="store_true", help="train on columns that number or name the rows as well")
    train.add_argument("--save", metavar="MODEL", help="save scaler and model to this file")
    train.add_argument("--task", choices=["classification", "regression"], help="default: found from the target")
    train.add_argument(
        "--hidden", type=_layers, default=(100,), metavar="N,N", help="units of the hidden layers (default: 100)"
    )
    train.add_argument("--activation", choices=list(HIDDEN_ACTIVATIONS), default="relu", help="default: relu")
    train.add_argument("--solver", choices=["lbfgs", *SOLVERS], default="adam", help="default: adam")
    train.add_argument(
        "--learning-rate", type=_number(0, 1e6, open_ends=True), default=0.001, metavar="X", help="default: 0.001"
    )
    train.add_argument("--alpha", type=_number(0, 1e9), default=1e-4, metavar="X", help="L2 penalty (default: 0.0001)")
    train.add_argument("--batch-size", type=_integer(1, 2**31), metavar="N", help="default: 200")
    train.add_argument(
        "--test-fraction",
        type=_number(0, 1, open_ends=True),
        default=0.2,
        metavar="X",
        help="share of the rows held out for the score (default: 0.2)",
    )
    train.add_argument(
        "--early-stopping",
        action="store_true",
        help="hold out a tenth more, and stop when its score no longer improves",
    )
    _add_common(train)
    train.set_defaults(run=run_train)

    predict = commands.add_parser(
        "predict", help="predict with a saved model", description="Predict every row of a table."
    )
    predict.add_argument("model", metavar="MODEL", help="what fastmlp train --save wrote")
    _add_reading(predict)
    predict.add_argument(
        "--output", metavar="FILE", help="write to this .csv, .parquet or .npz (default: CSV on the terminal)"
    )
    predict.add_argument("--probabilities", action="store_true", help="add the probability of every class")
    predict.set_defaults(run=run_predict)

    info = commands.add_parser("info", help="show versions, processor, threads and cache")
    info.set_defaults(run=run_info)

    warmup = commands.add_parser("warmup", help="compile everything now, for all later starts")
    warmup.set_defaults(run=run_warmup)
    return parser


# --- commands ------------------------------------------------------------------------------------


def run_demo(arguments):
    """Run ``fastmlp demo``."""
    from fastmlp.cli import comparison, demos, figures
    from fastmlp.cli.display import open_display

    if arguments.preset is not None and arguments.name != "mnist":
        raise BadInput(f"--preset belongs to the demo mnist, not to {arguments.name}.")
    options = {"epochs": arguments.epochs, "dtype": arguments.dtype, "seed": arguments.seed}
    if arguments.name == "mnist":
        options |= {"data_home": arguments.data_home, "preset": arguments.preset or "tuned"}
    with bad_input():
        if arguments.plot is not None:
            figures.check_figure_path(arguments.plot)
        problem = demos.DEMOS[arguments.name](**options)
    display = open_display()
    compiled, reference = comparison.run(problem, display, arguments.threads)
    if arguments.plot is not None:
        figure = figures.draw_demo(problem, compiled, reference)
        with bad_input():
            figures.save_figure(figure, arguments.plot)
        display.line(f"The figure is in {arguments.plot}.")


def _read_table(arguments, expected):
    from fastmlp.tables.reading import read_table

    return read_table(
        arguments.file,
        separator=arguments.separator,
        decimal=arguments.decimal,
        encoding=arguments.encoding,
        header=arguments.header,
        expected=expected,
    )


def run_train(arguments):
    """Run ``fastmlp train``."""
    from fastmlp.estimators.persistence import save_model
    from fastmlp.files.atomic import check_writable
    from fastmlp.tables.training import train_on_table

    with bad_input():
        if arguments.save is not None:
            check_writable(arguments.save)
        table = _read_table(arguments, [arguments.target])
        trained = train_on_table(
            table,
            arguments.target,
            drop=arguments.drop,
            keep_all=arguments.keep_all,
            task=arguments.task,
            test_fraction=arguments.test_fraction,
            seed=arguments.seed,
            hidden_layer_sizes=arguments.hidden,
            activation=arguments.activation,
            solver=arguments.solver,
            learning_rate_init=arguments.learning_rate,
            alpha=arguments.alpha,
            batch_size=arguments.batch_size or "auto",
            max_iter=arguments.epochs or 200,
            early_stopping=arguments.early_stopping,
            dtype=arguments.dtype or "float32",
            n_threads=arguments.threads,
        )
    units = "-".join(str(units) for units in [len(trained.columns), *arguments.hidden, trained.estimator.n_outputs_])
    found = f" ({', '.join(table.found)})" if table.found else ""
    print(f"{arguments.file}: {table.n_rows:,} rows, {len(trained.columns)} feature columns{found}")
    print(f"target {trained.target!r} holds {trained.reason}: {trained.task}")
    for note in [*table.notes, *trained.notes]:
        print(f"note: {note}")
    compiling = f" (and {trained.seconds_compiling:.1f} s of compiling, once)" if trained.seconds_compiling else ""
    print(
        f"trained {units} on {trained.n_train:,} rows: {trained.estimator.n_iter_} epochs, "
        f"{trained.seconds:.2f} s{compiling}, loss {trained.estimator.loss_:.6g}"
    )
    against = "the most common class" if trained.task == "classification" else "the mean"
    print(
        f"{trained.score_name} on {trained.n_test:,} held-out rows: {trained.score:.4f} "
        f"({against}: {trained.baseline:.4f})"
    )
    if arguments.save is not None:
        with bad_input():
            save_model(
                arguments.save,
                trained.estimator,
                trained.scaler,
                trained.columns,
                trained.target,
                trained.target_scaler,
            )
        print(f"saved to {arguments.save}")


def run_predict(arguments):
    """Run ``fastmlp predict``."""
    from fastmlp.estimators.persistence import load_model
    from fastmlp.tables.training import predict_table
    from fastmlp.tables.writing import check_output, write_columns

    with bad_input():
        if arguments.output is not None:
            check_output(arguments.output)
        model = load_model(arguments.model)
        table = _read_table(arguments, model.columns or ())
        columns = predict_table(model, table, arguments.probabilities)
        if arguments.output is not None:
            write_columns(columns, arguments.output)
    if table.found:
        print(f"{arguments.file}: {', '.join(table.found)}", file=sys.stderr)
    for note in table.notes:
        print(f"note: {note}", file=sys.stderr)
    if arguments.output is None:
        write_columns(columns, stream=sys.stdout)


def run_info(arguments):
    """Run ``fastmlp info``."""
    from fastmlp.cli.info import facts

    lines = facts()
    width = max(map(len, lines))
    for name, value in lines.items():
        print(f"{name:<{width}}  {value}")


def run_warmup(arguments):
    """Run ``fastmlp warmup``."""
    import numpy as np

    from fastmlp.network.warmup import warmup
    from fastmlp.simd.library import LIBRARY

    if LIBRARY is not None:
        print(f"nothing to compile: the kernels are in {LIBRARY.path}")
        return
    from fastmlp.simd.cache import cache_directory

    for dtype in (np.float32, np.float64):
        start = time.perf_counter()
        warmup(dtype)
        print(f"{np.dtype(dtype)}: ready after {time.perf_counter() - start:.1f} s", flush=True)
    folder = cache_directory()
    print(f"cached in {folder}" if folder else "not cached: there is no folder for it")


# --- entry point ---------------------------------------------------------------------------------


def main(argv=None):
    """Run the command line; returns the exit status.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; by default those of the process.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a character is no reason to fail
    try:
        parser = build_parser()
        arguments = parser.parse_args(argv)
        if arguments.command is None:
            parser.error("there is no command")
        arguments.run(arguments)
        sys.stdout.flush()
    except BadInput as error:
        print(f"fastmlp: {error}", file=sys.stderr)
        return EXIT_BAD_INPUT
    except KeyboardInterrupt:
        print("fastmlp: Interrupted.", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has had enough. Python would complain once more at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0
