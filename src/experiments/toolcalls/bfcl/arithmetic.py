"""Evaluate binary operations in an answer, within limits suitable for model output.

The official checker evaluates such an expression as Python, whatever it does: `9**9**9` never
terminates there. Here, operands are literals and lists, tuples, sets and dicts of them. Names,
calls, f-strings, comparisons and `%` on text are refused, and so are results above the limits.
"""

import ast
import operator
from collections.abc import Callable
from typing import Any

# No gold number is close to this: 20,000 bits are 6,000 digits.
MAX_BITS = 20_000
# Maximum length of a text, list or tuple from `+` and `*`: 20 kB of `[0]*500,` take 25 ms.
MAX_SUM, MAX_REPEATED = 4_000, 500

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
    ast.BitAnd: operator.and_,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Invert: operator.invert,
    ast.Not: operator.not_,
}


def evaluate(node: ast.expr | None) -> Any:
    """Return the value of an expression of literals.

    >>> evaluate(ast.parse("2 * 3 + -1", mode="eval").body)
    5

    Raises:
        ValueError: anything other than literals and operators, or a result above the limits.
        TypeError: incompatible operands.
        ArithmeticError: division by zero, or a float out of range.
        RecursionError: the expression is nested too deeply.
    """
    evaluator = _EVALUATORS.get(type(node))
    if evaluator is None:
        raise ValueError(f"unsupported {type(node).__name__} in an arithmetic expression")
    return evaluator(node)


def _dict(node: ast.Dict) -> dict[Any, Any]:
    return {evaluate(k): evaluate(v) for k, v in zip(node.keys, node.values, strict=True)}


_EVALUATORS: dict[type, Callable[[Any], Any]] = {
    ast.Constant: lambda node: node.value,
    ast.UnaryOp: lambda node: _UNARY[type(node.op)](evaluate(node.operand)),
    ast.BinOp: lambda node: _combine(node.op, evaluate(node.left), evaluate(node.right)),
    ast.List: lambda node: [evaluate(element) for element in node.elts],
    ast.Tuple: lambda node: tuple(evaluate(element) for element in node.elts),
    ast.Set: lambda node: {evaluate(element) for element in node.elts},
    ast.Dict: _dict,
}


def _combine(op: ast.operator, left: Any, right: Any) -> Any:
    if type(op) not in _BINARY or (isinstance(op, ast.Mod) and isinstance(left, str | bytes)):
        raise ValueError(f"unsupported operator {type(op).__name__}")
    _refuse_too_large(op, left, right)
    return _BINARY[type(op)](left, right)


def _refuse_too_large(op: ast.operator, left: Any, right: Any) -> None:
    """Refuse an operation whose result would exceed the limits.

    Raises:
        ValueError: the result would exceed the limits.
    """
    if isinstance(left, int) and isinstance(right, int):
        bits = {
            ast.Pow: left.bit_length() * max(0, right),
            ast.LShift: left.bit_length() + max(0, right),
            ast.Mult: left.bit_length() + right.bit_length(),
        }.get(type(op), 0)
        if bits > MAX_BITS:
            raise ValueError(f"the result would have {bits} bits")
        return
    lengths = [
        len(operand) for operand in (left, right) if isinstance(operand, str | bytes | list | tuple)
    ]
    repetitions = next((operand for operand in (left, right) if isinstance(operand, int)), 0)
    if sum(lengths) > MAX_SUM or sum(lengths) * repetitions > MAX_REPEATED:
        raise ValueError("the resulting string or list would be too long")
