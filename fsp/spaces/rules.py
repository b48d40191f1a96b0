"""Rules between parameters: a small expression language, parsed and interpreted, never run as Python.

A rule is one boolean expression over the parameter names: integers, `+ - * // %`, comparisons
(chains allowed), `and`, `or`, `not`, parentheses. Examples: `H % A == 0`, `I >= H`, `D < 6 or H < 384`.
A space written in Python may also hold functions of the parameters.
"""

import ast
import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fsp.base.errors import InputError

_ARITHMETIC: dict[type[ast.operator], Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARISON: dict[type[ast.cmpop], Callable] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_MAX_LENGTH = 500  # characters; also bounds the depth of the parsed tree


class Rule:
    """One boolean rule over named integer arrays.

    Args:
        text: the expression, at most 500 characters.
        names: the parameter names it may use.

    Raises:
        InputError: the text is not a rule, or uses an unknown name; on a call, a product reaches 2^53.

    Example:
        >>> Rule("H % A == 0", names=("A", "H"))({"A": np.array([4, 5]), "H": np.array([8, 8])})
        array([ True, False])
    """

    def __init__(self, text: str, names: tuple[str, ...]):
        self.text = text
        self.names = names
        if len(text) > _MAX_LENGTH:
            raise InputError(f"rule is longer than {_MAX_LENGTH} characters: {text[:40]!r}...")
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise InputError(f"rule {text!r} is not an expression; write e.g. 'H % A == 0'") from None
        if not self._boolean(self._tree):
            raise InputError(f"rule {text!r} is not true or false; compare something, e.g. 'H % A == 0'")
        self._check(self._tree)

    def __repr__(self) -> str:
        return f"Rule({self.text!r})"

    def __call__(self, columns: Mapping[str, NDArray[np.int64]]) -> NDArray[np.bool_]:
        """Return where the rule holds, in the shape of the given columns."""
        with np.errstate(divide="ignore"):
            return np.asarray(self._value(self._tree, columns), dtype=bool)

    def _boolean(self, node: ast.expr) -> bool:
        if isinstance(node, ast.BoolOp):
            return all(self._boolean(value) for value in node.values)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return self._boolean(node.operand)
        return isinstance(node, ast.Compare)

    def _check(self, node: ast.expr) -> None:
        match node:
            case ast.BoolOp(values=children):
                pass
            case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
                children = [operand]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                children = [left, right]
            case ast.Compare(left=left, ops=ops, comparators=rest) if all(type(o) in _COMPARISON for o in ops):
                children = [left, *rest]
            case ast.Constant(value=value) if type(value) is int and abs(value) < 2**31:
                children = []
            case ast.Name(id=name):
                if name not in self.names:
                    raise InputError(
                        f"rule {self.text!r} uses {name!r}, which is no parameter; there are {', '.join(self.names)}"
                    )
                children = []
            case _:
                part = ast.unparse(node)
                raise InputError(
                    f"rule {self.text!r}: {part!r} is not allowed; use integers, + - * // %, comparisons, and/or/not"
                )
        for child in children:
            self._check(child)

    def _value(self, node: ast.expr, columns: Mapping[str, NDArray[np.int64]]) -> Any:
        match node:
            case ast.BoolOp(op=op, values=values):
                reduce = np.logical_and if isinstance(op, ast.And) else np.logical_or
                result = self._value(values[0], columns)
                for value in values[1:]:
                    result = reduce(result, self._value(value, columns))
                return result
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return np.logical_not(self._value(operand, columns))
            case ast.UnaryOp(operand=operand):
                return -self._value(operand, columns)
            case ast.BinOp(left=left, op=op, right=right):
                compute, sides = _ARITHMETIC[type(op)], [self._value(side, columns) for side in (left, right)]
                if type(op) is ast.Mult and np.any(np.abs(compute(*(side.astype(float) for side in sides))) >= 2.0**53):
                    raise InputError(f"rule {self.text!r} computes products above 2^53; write it with smaller ones")
                return compute(*sides)
            case ast.Compare(left=left, ops=ops, comparators=rest):
                sides = [self._value(side, columns) for side in (left, *rest)]
                held = [_COMPARISON[type(op)](a, b) for op, a, b in zip(ops, sides, sides[1:], strict=False)]
                return np.logical_and.reduce(np.broadcast_arrays(*held))
            case ast.Name(id=name):
                return np.asarray(columns[name], dtype=np.int64)
            case ast.Constant(value=int(value)):
                return np.int64(value)
        raise AssertionError(ast.dump(node))


class FunctionRule:
    """One boolean rule given as a Python function of parameters, e.g. `def even(D, H): return (D + H) % 2 == 0`.

    Args:
        function: takes parameters by name and returns True or False; called with plain integers, once per
            combination of the parameters it takes.
        names: the parameter names of the space.

    Raises:
        InputError: the function takes an unknown parameter; on a call, it raises or does not return a bool.

    Example:
        >>> rule = FunctionRule(lambda A, H: H % A == 0, names=("A", "H"))
        >>> rule({"A": np.array([4, 5]), "H": np.array([8, 8])})
        array([ True, False])
    """

    def __init__(self, function: Callable[..., bool], names: tuple[str, ...]):
        self.text = getattr(function, "__name__", type(function).__name__)
        self._function = function
        try:
            self._taken = tuple(inspect.signature(function).parameters)
        except (TypeError, ValueError):
            raise InputError(f"rule {self.text}: its parameters cannot be determined; wrap it in a def") from None
        if unknown := [name for name in self._taken if name not in names]:
            raise InputError(
                f"rule {self.text} takes {unknown[0]!r}, which is no parameter; there are {', '.join(names)}"
            )

    def __repr__(self) -> str:
        return f"FunctionRule({self.text})"

    def __call__(self, columns: Mapping[str, NDArray[np.int64]]) -> NDArray[np.bool_]:
        """Return where the rule holds, in the shape that its columns broadcast to."""
        taken = np.broadcast_arrays(*(columns[name] for name in self._taken))
        held = [self._one(values) for values in zip(*(column.ravel().tolist() for column in taken), strict=True)]
        return np.reshape(held, taken[0].shape) if taken else np.asarray(self._one(()))

    def _one(self, values: tuple[int, ...]) -> bool:
        given = dict(zip(self._taken, values, strict=True))
        try:
            result = self._function(**given)
        except Exception as error:  # a user's function may raise anything
            at = " ".join(f"{name}={value}" for name, value in given.items())
            raise InputError(f"rule {self.text} fails at {at}: {type(error).__name__}: {error}") from None
        if not isinstance(result, bool | np.bool_):
            raise InputError(f"rule {self.text} returns {result!r}; it must return True or False")
        return bool(result)
