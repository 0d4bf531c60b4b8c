"""Numbers in compiled code: halves widened from their bits, and a logarithm without a branch."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from biocache.store.compiling import compiled

__all__ = ["log", "widened"]

_F, _I = np.float32, np.int32


def _intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    return cast(Callable[..., Any], intrinsic(function))


@_intrinsic
def _bits(_typing: Any, _number: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.int32(types.float32), generate


@_intrinsic
def _from_bits(_typing: Any, _number: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), generate


@_intrinsic
def widened(_typing: Any, number: Any) -> Any:
    """Widen a number that is not negative: float32 as it is, a half from its bits, with its exponent rebased.

    A code of 8 bits is that of a square root (`biocache.store.coding`).
    """

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        if number == types.float32:
            return arguments[0]
        if number == types.uint8:
            root = builder.uitofp(arguments[0], ir.FloatType())
            root = builder.fdiv(root, ir.Constant(ir.FloatType(), 255.0))
            return builder.fmul(root, root)
        bits = builder.shl(builder.zext(arguments[0], ir.IntType(32)), ir.Constant(ir.IntType(32), 13))
        return builder.fmul(builder.bitcast(bits, ir.FloatType()), ir.Constant(ir.FloatType(), 2.0**112))

    return types.float32(number), generate


@compiled
def log(x: Any) -> Any:
    """Natural logarithm of a positive normal number, after FreeBSD's logf: below 1 ulp, and without a branch."""
    shifted = _I(_bits(x) - _I(0x3F330000))
    exponent = _F(_I(shifted >> _I(23)))
    f = _from_bits(_I(_I(shifted & _I(0x007FFFFF)) + _I(0x3F330000))) - _F(1)
    s = f / (_F(2) + f)
    z = s * s
    rest = z * (_F(0.66666662693) + z * (_F(0.40000972152) + z * (_F(0.28498786688) + z * _F(0.24279078841))))
    half = _F(0.5) * f * f
    return exponent * _F(0.6931471805599453) + (f - (half - s * (half + rest)))
