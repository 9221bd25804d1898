"""What the machine could do at best: multiply-adds a second, bytes a second, and how far its cores are apart.

A share of peak is only worth reading when the peak was measured in the same run, on the same cores:
virtual machines drift. Their host may also run two virtual processors on the two halves of one core (then the peak of
two threads is that of one), on cores that share a cache, or on two chiplets: the round trip of a cache line tells these
two apart. ``python -m bench.peak`` prints all three figures.
"""

import argparse
import math
import os
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils
from numba.extending import intrinsic

# Bounces of a cache line between two threads: so many that starting the threads costs little beside them.
ROUND_TRIPS = 50_000

# Short, so that a turn of another process rarely falls into it; long beside starting a thread.
WORK_SECONDS = 0.01


def vector_bytes() -> int:
    """Return the bytes of the widest vector in which this processor multiplies and adds."""
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    if features.get("avx"):
        return 32
    return 16


def n_chains() -> int:
    """Return how many independent accumulators hide the latency without leaving the registers."""
    return 24 if vector_bytes() == 64 else 12


VECTOR_BYTES = vector_bytes()
N_CHAINS = n_chains()


@intrinsic
def fma_chains(typingctx: Any, iterations: Any, start: Any) -> Any:
    """Emit N_CHAINS independent chains of acc = acc * factor + addend, and sum them at the end."""
    signature = start(iterations, start)

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        scalar = context.get_value_type(signature.return_type)
        bits = signature.return_type.bitwidth
        lanes = VECTOR_BYTES * 8 // bits
        vector = ir.VectorType(scalar, lanes)
        fma = cgutils.get_or_insert_function(
            builder.module,
            ir.FunctionType(vector, [vector, vector, vector]),
            f"llvm.fma.v{lanes}f{bits}",
        )
        factor = ir.Constant(vector, [0.5] * lanes)
        addend = ir.Constant(vector, [1.0] * lanes)
        seed = ir.Constant(vector, ir.Undefined)
        for lane in range(lanes):
            seed = builder.insert_element(seed, arguments[1], ir.Constant(ir.IntType(32), lane), name="seed")
        accumulators = []
        for chain in range(N_CHAINS):
            accumulator = cgutils.alloca_once(builder, vector, name=f"chain_{chain}")
            offset = ir.Constant(vector, [float(chain)] * lanes)
            builder.store(builder.fadd(seed, offset), accumulator)
            accumulators.append(accumulator)
        with cgutils.for_range(builder, arguments[0]):
            for accumulator in accumulators:
                value = builder.call(fma, [builder.load(accumulator), factor, addend])
                builder.store(value, accumulator)
        total = ir.Constant(scalar, 0.0)
        for accumulator in accumulators:
            value = builder.load(accumulator)
            for lane in range(lanes):
                element = builder.extract_element(value, ir.Constant(ir.IntType(32), lane))
                total = builder.fadd(total, element)
        return total

    return signature, codegen


def _flag_address(builder: Any, context: Any, signature: Any, arguments: Any) -> Any:
    """Return the address of ``array[0]``."""
    return context.make_array(signature.args[0])(context, builder, arguments[0]).data


@intrinsic
def read_flag(typingctx: Any, array: Any) -> Any:
    """Emit an atomic load of ``array[0]``."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(_flag_address(builder, context, signature, arguments), "acquire", 8)

    return numba.types.int64(array), codegen


@intrinsic
def write_flag(typingctx: Any, array: Any, value: Any) -> Any:
    """Emit an atomic store to ``array[0]``."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store_atomic(arguments[1], _flag_address(builder, context, signature, arguments), "release", 8)
        return context.get_dummy_value()

    return numba.types.void(array, numba.types.int64), codegen


@numba.njit(nogil=True)
def bounce(flag: Any, player: Any, rounds: Any) -> None:
    """Wait for the other player's number and answer with the next, so many times."""
    for number in range(player, 2 * rounds, 2):
        while read_flag(flag) != number:
            pass
        write_flag(flag, number + 1)


@numba.njit(nogil=True)
def run_chains(iterations: Any, start: Any) -> Any:
    """Run the chains; returns their sum, so that nothing can be optimised away."""
    return fma_chains(iterations, start)


@numba.njit(parallel=True)
def run_chains_in_pool(n_threads: Any, iterations: Any, start: Any) -> None:
    """Run the chains on so many of Numba's threads at once."""
    sums = np.empty(n_threads)
    for thread in numba.prange(n_threads):
        sums[thread] = run_chains(iterations, start)
    # Read, so that nothing can be optimised away.
    if not np.isfinite(sums).all():
        raise AssertionError("the peak kernel computes something else")


@numba.njit(nogil=True, fastmath={"contract", "nsz"})
def triad(out: Any, a: Any, b: Any, scale: Any) -> None:
    """STREAM's triad: out = a + scale * b."""
    # out, a, b: (n,)
    for i in range(out.shape[0]):
        out[i] = a[i] + scale * b[i]


def in_threads(n_threads: int, work: Callable[[int], None]) -> float:
    """Run ``work(0) ... work(n_threads - 1)`` at once; returns the seconds until all are done.

    Several threads have a core each, where the system can: else two may begin on the same, for a part of their time.
    """
    barrier = threading.Barrier(n_threads + 1)
    cores = sorted(os.sched_getaffinity(0))[-n_threads:] if hasattr(os, "sched_getaffinity") else []
    each_its_own = 1 < n_threads == len(cores)

    def body(index: int) -> None:
        if each_its_own:
            os.sched_setaffinity(0, {cores[index]})  # of this thread
        barrier.wait()
        work(index)

    threads = [threading.Thread(target=body, args=(i,)) for i in range(n_threads)]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def flops_per_iteration(dtype: Any) -> int:
    """Return the floating-point operations of one turn of the loop of :func:`run_chains`."""
    return N_CHAINS * (VECTOR_BYTES // np.dtype(dtype).itemsize) * 2


@cache
def checked_iterations(dtype_name: str) -> int:
    """Check the kernel's result, and return how many iterations take about WORK_SECONDS."""
    scalar = np.dtype(dtype_name).type
    lanes = VECTOR_BYTES // np.dtype(dtype_name).itemsize
    # acc -> acc / 2 + 1, from 3 + chain: after k turns 2 + (1 + chain) / 2^k.
    turns = 10
    expected = lanes * sum(2 + (1 + chain) / 2.0**turns for chain in range(N_CHAINS))
    result = float(run_chains(turns, scalar(3)))
    if not math.isclose(result, expected, rel_tol=1e-5):
        raise AssertionError(f"the peak kernel computes {result}, not {expected}")
    iterations = 100_000
    start = time.perf_counter()
    run_chains(iterations, scalar(3))
    return max(1000, int(iterations * WORK_SECONDS / (time.perf_counter() - start)))


def fma_peak(dtype: Any, n_threads: int) -> float:
    """Measure GFLOP/s of nothing but fused multiply-adds on registers, on ``n_threads`` of Numba's threads.

    Those have just done other work, perhaps, and wait for more without giving up their cores: threads of another pool
    would get a part of these only.
    """
    dtype = np.dtype(dtype)
    iterations = checked_iterations(dtype.name)
    scalar = dtype.type(3)
    before = numba.get_num_threads()
    numba.set_num_threads(n_threads)
    try:
        run_chains_in_pool(n_threads, 1, scalar)  # compiled, and all threads awake
        start = time.perf_counter()
        run_chains_in_pool(n_threads, iterations, scalar)
        seconds = time.perf_counter() - start
    finally:
        numba.set_num_threads(before)
    return n_threads * iterations * flops_per_iteration(dtype) / seconds / 1e9


def round_trip() -> float | None:
    """Measure the seconds in which a cache line goes from one core to another and back, the best of a few runs.

    None where there is one core only, or where threads cannot be told where to run.
    """
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) == 1:
        return None
    # Nothing else lies on its cache line, nor on the neighbour that processors fetch with it.
    flag = np.zeros(64, np.int64)[24:25]

    def run() -> float:
        flag[0] = 0
        return in_threads(2, lambda player: bounce(flag, player, ROUND_TRIPS)) / ROUND_TRIPS

    bounce(np.zeros(1, np.int64), 0, 0)
    return min(run() for _ in range(5))


def memory_bandwidth(n_threads: int, mebibytes: int = 128, repeats: int = 5) -> float:
    """Measure GB/s of the triad on arrays that fit in no cache; the best of a few runs."""
    n = mebibytes * 2**20 // 8 // n_threads
    arrays = [[np.ones(n) for _ in range(3)] for _ in range(n_threads)]
    triad(*arrays[0], 3.0)
    seconds = min(in_threads(n_threads, lambda index: triad(*arrays[index], 3.0)) for _ in range(repeats))
    if arrays[0][0][0] != 4.0:
        raise AssertionError("the triad computes something else")
    return 3 * 8 * n * n_threads / seconds / 1e9


def main() -> None:
    """Print the peaks of one thread and of all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", help="default: 1 and all")
    arguments = parser.parse_args()
    for n_threads in arguments.threads or sorted({1, numba.config.NUMBA_NUM_THREADS}):
        for dtype in ("float32", "float64"):
            best = [fma_peak(dtype, n_threads) for _ in range(25)]
            print(
                f"{n_threads} threads, {dtype}: {np.median(best):.1f} GFLOP/s "
                f"(quartiles {np.quantile(best, 0.25):.1f} to {np.quantile(best, 0.75):.1f}), "
                f"vectors of {VECTOR_BYTES} bytes"
            )
        print(f"{n_threads} threads: triad {memory_bandwidth(n_threads):.1f} GB/s")
    seconds = round_trip()
    if seconds is not None:
        print(f"a cache line to another core and back: {1e9 * seconds:.0f} ns")


if __name__ == "__main__":
    main()
