"""What emits code has in common: LLVM's types of numbers and registers, declarations, addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llvmlite import ir

from fastmlp.simd.numba_modules import types
from fastmlp.simd.tile_table import TILE

if TYPE_CHECKING:
    from fastmlp.simd.vector_type import Vector

_INT32 = ir.IntType(32)


def vector_with(dtype: Any, lanes: int) -> Vector:
    """Return the vector type of so many numbers."""
    from fastmlp.simd.vector_type import Vector  # here, because it makes Numba known to itself

    return Vector(dtype, lanes)


def is_vector(kind: Any) -> bool:
    """Return whether a type of Numba's is a vector."""
    from fastmlp.simd.vector_type import Vector

    return isinstance(kind, Vector)


def llvm_scalar(dtype: types.Type) -> ir.Type:
    """Return the LLVM type of a lane."""
    if dtype == types.float32:
        return ir.FloatType()
    if dtype == types.float64:
        return ir.DoubleType()
    return ir.IntType(dtype.bitwidth if isinstance(dtype, types.Integer) else 1)


def llvm_vector(vector: Vector) -> ir.VectorType:
    """Return the LLVM type of a register."""
    return ir.VectorType(llvm_scalar(vector.dtype), vector.lanes)


def vector_of(dtype: types.Type) -> Vector:
    """Return the vector type of this process's tile for float32 or float64."""
    return vector_with(dtype, TILE.vector_bytes * 8 // dtype.bitwidth)


def bits_type(vector: Vector) -> Vector:
    """Return the vector of integers of the same width."""
    integer = types.int32 if vector.dtype == types.float32 else types.int64
    return vector_with(integer, vector.lanes)


def splat(builder: Any, vector: Vector, scalar: ir.Value) -> ir.Value:
    """Emit the copying of a scalar to all lanes."""
    kind = llvm_vector(vector)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), scalar, _INT32(0))
    mask = ir.Constant(ir.VectorType(_INT32, vector.lanes), [0] * vector.lanes)
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), mask)


def declare(builder: Any, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
    """Declare an LLVM intrinsic by name (llvmlite's own helper refuses vector types)."""
    if name in builder.module.globals:
        return builder.module.globals[name]
    return ir.Function(builder.module, ir.FunctionType(result, arguments), name)


def vector_suffix(vector: Vector) -> str:
    """Return the suffix of an LLVM intrinsic's name, such as ``v16f32``."""
    letter = "i" if isinstance(vector.dtype, types.Integer) else "f"
    return f"v{vector.lanes}{letter}{vector.dtype.bitwidth}"


def element_pointer(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> ir.Value:
    """Emit the address of ``array[index]``; the array has one dimension and is contiguous."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def as_vector(context: Any, builder: Any, vector: Vector, kind: types.Type, value: Any) -> Any:
    """Emit a number in all lanes; a vector stays as it is."""
    if is_vector(kind):
        return value
    return splat(builder, vector, context.cast(builder, value, kind, vector.dtype))
