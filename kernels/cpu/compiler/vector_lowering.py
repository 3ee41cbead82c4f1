"""What the functions of `vectors` become in LLVM; only lowering a kernel needs them, and Numba."""

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.extending import intrinsic, models, register_model
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature

from drr.kernels.cpu.compiler.vectors import LANES

__all__ = [
    "any_from",
    "bits_set",
    "exchange_block",
    "fma",
    "hat",
    "larger",
    "load",
    "nearest",
    "prefetch",
    "ramp",
    "scaled",
    "splat",
    "store",
    "unit",
    "widen",
    "zeros_below",
]

_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_VOXELS = ir.VectorType(ir.IntType(16), LANES)
_WIDE = ir.VectorType(ir.IntType(16), 2 * LANES)
_LOWER, _UPPER = (0, 8, 1, 9, 2, 10, 3, 11), (4, 12, 5, 13, 6, 14, 7, 15)


class Vector(types.Type):
    """Numba's type of a vector."""


vector = Vector("float32x8")


@register_model(Vector)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, _FLOATS)


def _constant(value):
    return ir.Constant(_FLOATS, [float(value)] * LANES)


def _places(numbers):
    return ir.Constant(ir.VectorType(ir.IntType(32), len(numbers)), numbers)


def _spread(builder, number, kind=_FLOATS):
    """The same number in all lanes."""
    nothing = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, nothing, _places([0] * kind.count))


def _arithmetic(operation, instruction):
    kinds = [signature(vector, vector, vector), signature(vector, vector, types.float32)]
    infer_global(operation)(type("Template", (ConcreteTemplate,), {"cases": kinds}))

    @lower_builtin(operation, Vector, Vector)
    def of_vectors(context, builder, sig, args):
        return getattr(builder, instruction)(*args)

    @lower_builtin(operation, Vector, types.Float)
    def of_numbers(context, builder, sig, args):
        return getattr(builder, instruction)(args[0], _spread(builder, args[1]))


_arithmetic(operator.add, "fadd")
_arithmetic(operator.sub, "fsub")
_arithmetic(operator.mul, "fmul")
_arithmetic(operator.truediv, "fdiv")


def _address(context, builder, kinds, args, kind):
    """Pointer to the lanes from an index on, after the check that kernels may be compiled with."""
    array = context.make_array(kinds[0])(context, builder, value=args[0])
    index = context.cast(builder, args[1], kinds[1], types.intp)
    if context.enable_boundscheck:
        size = builder.extract_value(array.shape, 0)
        last = builder.add(index, ir.Constant(index.type, kind.count - 1))
        cgutils.do_boundscheck(context, builder, index, size, 0)
        cgutils.do_boundscheck(context, builder, last, size, 0)
    return builder.bitcast(builder.gep(array.data, [index]), kind.as_pointer())


def _load(context, builder, sig, args, kind):
    align = 4 if kind is _FLOATS else 2
    return builder.load(_address(context, builder, sig.args, args, kind), align=align)


def in_kernels(function: Any) -> Any:
    """`intrinsic`, whose result type checkers take for the function that it was made from."""
    return intrinsic(function)


@in_kernels
def splat(typing_context, number):
    """A vector of one number."""

    def code(context, builder, sig, args):
        return _spread(builder, args[0])

    return vector(types.float32), code


@in_kernels
def ramp(typing_context):
    """The vector 0, 1, 2, ..."""

    def code(context, builder, sig, args):
        return ir.Constant(_FLOATS, [float(i) for i in range(LANES)])

    return vector(), code


@in_kernels
def load(typing_context, array, index):
    """The float32 at index, index + 1, ..."""

    def code(context, builder, sig, args):
        return _load(context, builder, sig, args, _FLOATS)

    return vector(array, index), code


@in_kernels
def widen(typing_context, array, index):
    """The int16 at index, index + 1, ... as float32."""

    def code(context, builder, sig, args):
        voxels = _load(context, builder, sig, args, _VOXELS)
        wide = builder.sext(voxels, ir.VectorType(ir.IntType(32), LANES))
        return builder.sitofp(wide, _FLOATS)

    return vector(array, index), code


@in_kernels
def store(typing_context, array, index, value):
    """Write a vector to index, index + 1, ..."""

    def code(context, builder, sig, args):
        builder.store(args[2], _address(context, builder, sig.args, args, _FLOATS), align=4)
        return context.get_dummy_value()

    return types.none(array, index, vector), code


@in_kernels
def fma(typing_context, value, factor, term):
    """value * factor + term, rounded once; all vectors, all numbers, or one number as factor."""

    def code(context, builder, sig, args):
        value, factor, term = args
        if sig.return_type == vector and sig.args[1] != vector:
            factor = _spread(builder, factor)
        width = f"v{LANES}f32" if sig.return_type == vector else "f32"
        kind = ir.FunctionType(value.type, [value.type] * 3)
        fused = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.{width}")
        return builder.call(fused, [value, factor, term])

    kind = value if value == vector else types.float32
    return kind(value, factor, term), code


@in_kernels
def larger(typing_context, value, other):
    """Lane by lane the larger of two vectors."""

    def code(context, builder, sig, args):
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return vector(vector, vector), code


@in_kernels
def hat(typing_context, value):
    """max(0, 1 - |value|), lane by lane."""

    def code(context, builder, sig, args):
        kind = ir.FunctionType(_FLOATS, [_FLOATS])
        size = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fabs.v{LANES}f32")
        rest = builder.fsub(_constant(1), builder.call(size, [args[0]]))
        above = builder.fcmp_ordered(">", rest, _constant(0))
        return builder.select(above, rest, _constant(0))

    return vector(vector), code


@in_kernels
def unit(typing_context, value):
    """Lane by lane the value, but not less than zero and not more than one."""

    def code(context, builder, sig, args):
        above = builder.fcmp_ordered(">", args[0], _constant(0))
        value = builder.select(above, args[0], _constant(0))
        return builder.select(builder.fcmp_ordered("<", value, _constant(1)), value, _constant(1))

    return vector(vector), code


@in_kernels
def nearest(typing_context, value):
    """Lane by lane the nearest whole number, the even one of two."""

    def code(context, builder, sig, args):
        kind = ir.FunctionType(_FLOATS, [_FLOATS])
        even = cgutils.get_or_insert_function(builder.module, kind, f"llvm.nearbyint.v{LANES}f32")
        return builder.call(even, args)

    return vector(vector), code


@in_kernels
def scaled(typing_context, value, power):
    """value * 2**power, lane by lane; powers are whole and the results numbers, not denormal."""

    def code(context, builder, sig, args):
        whole = ir.VectorType(ir.IntType(32), LANES)
        # Exponents stand above 23 bits of fraction (IEEE 754, binary32).
        shift = ir.Constant(whole, [23] * LANES)
        more = builder.shl(builder.fptosi(args[1], whole), shift)
        return builder.bitcast(builder.add(builder.bitcast(args[0], whole), more), _FLOATS)

    return vector(vector, vector), code


@in_kernels
def any_from(typing_context, array, index, lowest):
    """Whether any of the next 2 * `LANES` int16 is a value or more."""

    def code(context, builder, sig, args):
        voxels = _load(context, builder, sig, args, _WIDE)
        limit = _spread(builder, context.cast(builder, args[2], sig.args[2], types.int16), _WIDE)
        found = builder.bitcast(builder.icmp_signed(">=", voxels, limit), ir.IntType(_WIDE.count))
        return builder.icmp_unsigned("!=", found, ir.Constant(found.type, 0))

    return types.boolean(array, index, lowest), code


@in_kernels
def bits_set(typing_context, word):
    """How many bits of a uint64 are 1."""

    def code(context, builder, sig, args):
        return builder.ctpop(args[0])

    return types.uint64(types.uint64), code


@in_kernels
def zeros_below(typing_context, word):
    """How many bits of a uint64 are 0 below its lowest 1, of which there must be one."""

    def code(context, builder, sig, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), code


@in_kernels
def exchange_block(typing_context, array, index, stride, out, out_index, out_stride):
    """Write 8 x 8 int16, rows a stride apart, with rows and columns exchanged.

    Interleaving rows i and i + 4 three times puts every element in its place.
    """

    def code(context, builder, sig, args):
        source, target = sig.args[0:2], sig.args[3:5]
        steps = [context.cast(builder, args[n], sig.args[n], types.intp) for n in (1, 2, 4, 5)]
        rows = []
        for r in range(8):
            place = builder.add(steps[0], builder.mul(steps[1], ir.Constant(steps[1].type, r)))
            pointer = _address(context, builder, (source[0], types.intp), (args[0], place), _VOXELS)
            rows.append(builder.load(pointer, align=2))
        for _ in range(3):
            rows = [
                builder.shuffle_vector(rows[i], rows[i + 4], _places([*half]))
                for i in range(4)
                for half in (_LOWER, _UPPER)
            ]
        for r, row in enumerate(rows):
            place = builder.add(steps[2], builder.mul(steps[3], ir.Constant(steps[3].type, r)))
            pointer = _address(context, builder, (target[0], types.intp), (args[3], place), _VOXELS)
            builder.store(row, pointer, align=2)
        return context.get_dummy_value()

    return types.none(array, index, stride, out, out_index, out_stride), code


@in_kernels
def prefetch(typing_context, array, index):
    """Bring the cache line of an element closer; the index may lie beyond the array."""

    def code(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, value=args[0]).data
        index = context.cast(builder, args[1], sig.args[1], types.intp)
        place = builder.bitcast(builder.gep(data, [index]), ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
        call = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        # For reading, to all levels of the cache, data.
        builder.call(call, [place, *(ir.Constant(number, n) for n in (0, 3, 1))])
        return context.get_dummy_value()

    return types.none(array, index), code
