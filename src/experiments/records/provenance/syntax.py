"""Convert a definition to a normal form of its syntax, and list the names it refers to.

The normal form leaves out everything that cannot affect results: comments, formatting, docstrings,
annotations, messages of assertions and of the project's errors, printed lines, the name of the
definition itself and the names of local variables. Methods of a class are listed by name, so that
their order does not matter.
"""

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SCOPES = (*FUNCTIONS, ast.Lambda)
_NOT_EMITTED = frozenset({"ctx", "kind", "type_comment", "type_params"})
_FIELDS: dict[type, tuple[str, ...]] = {}


@dataclass(frozen=True, slots=True)
class Target:
    """What a name refers to: a definition or module of the project, or a name in a library."""

    kind: str
    """`definition`, `module`, `outside` (code that does not affect results) or `text`."""
    module: str = ""
    name: str = ""


Resolve = Callable[[str], Target]
"""Returns what a name used in a module refers to."""
Member = Callable[[Target, str], Target]
"""Returns what an attribute of a module refers to."""


@dataclass
class Normal:
    """The normal form of a definition."""

    tokens: list[str] = field(default_factory=list)
    references: list[Target] = field(default_factory=list)
    """The definitions that it uses, in the order of their places in `tokens`."""
    annotated: set[Target] = field(default_factory=set)
    """Definitions that occur in annotations only; methods of objects are found through them."""
    strings: set[str] = field(default_factory=set)
    """All string constants, because some are names of files that the code reads."""


class Normaliser:
    """Visitor that converts the statements of one definition."""

    def __init__(self, resolve: Resolve, member: Member, imported: Any, *, settings: bool) -> None:
        """Prepare the conversion of definitions in one module.

        Args:
            resolve: looks up a name of the module.
            member: looks up an attribute of a module.
            imported: maps an import statement to (name, target) for each name that it binds.
            settings: whether the module's classes are a config. Its values are part of a run's id,
                so only the code that computes with them is included, not their fields or checks.
        """
        self._resolve = resolve
        self._member = member
        self._imported = imported
        self._settings = settings
        self._scopes: list[dict[str, Target]] = []
        self.normal = Normal()

    def add(self, statement: ast.stmt) -> None:
        """Add one top-level statement of the definition."""
        if isinstance(statement, FUNCTIONS):
            self._function(statement, name="")
        elif isinstance(statement, ast.ClassDef):
            self._class(statement, name="")
        else:
            self._scopes.append(_comprehended(statement))
            self._emit(statement)
            self._scopes.pop()

    def _emit(self, node: Any) -> None:
        kind = type(node)
        if kind is list:
            self._put("[")
            for element in node:
                self._emit(element)
            self._put("]")
            return
        if not isinstance(node, ast.AST):
            self._put(repr(node))
            return
        special = _SPECIAL.get(kind)
        if special is not None:
            special(self, node)
            return
        self._put(kind.__name__)
        names = _FIELDS.get(kind)
        if names is None:
            names = _FIELDS[kind] = tuple(f for f in kind._fields if f not in _NOT_EMITTED)
        for name in names:
            self._emit(getattr(node, name, None))

    def _put(self, token: str) -> None:
        self.normal.tokens.append(token)

    def _target(self, target: Target) -> None:
        """Write the target of a name."""
        if target.kind == "definition":
            self._put("@")
            self.normal.references.append(target)
        elif target.kind == "module":  # used as a value: anything in it may be used
            self._put("@module")
            self.normal.references.append(target)
        else:
            self._put(f"{target.kind}:{target.name}")

    def _find(self, name: str) -> Target:
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        return self._resolve(name)

    def _name(self, node: ast.Name) -> None:
        self._target(self._find(node.id))

    def _attribute(self, node: ast.Attribute) -> None:
        target, rest = self._chain(node)
        if target is None:
            self._emit(node.value)
            self._put(f".{node.attr}")
            return
        self._target(target)
        for name in rest:
            self._put(f".{name}")

    def _chain(self, node: ast.expr) -> tuple[Target | None, list[str]]:
        """Resolve `a.b.c` as far as it names modules; the rest are attributes of an object."""
        names: list[str] = []
        while isinstance(node, ast.Attribute):
            names.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None, []
        target = self._find(node.id)
        while names and (target.kind == "module" or (target.kind == "text" and target.module)):
            target = self._member(target, names.pop())
        return target, names[::-1]

    def _constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.normal.strings.add(node.value)
        self._put(f"{type(node.value).__name__}:{node.value!r}")

    def _annotation(self, node: ast.expr | None) -> None:
        """Collect the project's classes that an annotation names."""
        if node is None:
            return
        for child in ast.walk(node):
            if isinstance(child, ast.Constant) and isinstance(child.value, str):
                try:
                    self._annotation(ast.parse(child.value, mode="eval").body)
                except SyntaxError:  # a string of `Literal`
                    continue
            elif isinstance(child, ast.Attribute | ast.Name):
                target, _ = self._chain(child)
                if target is not None and target.kind == "definition":
                    self.normal.annotated.add(target)

    def _body(self, statements: Sequence[ast.stmt]) -> None:
        self._put("{")
        for statement in statements:
            self._emit(statement)
        self._put("}")

    def _function(self, node: Any, *, name: str) -> None:
        self._put(f"{type(node).__name__} {name}")
        self._emit(node.decorator_list)
        self._signature(node.args)
        self._annotation(node.returns)
        scope = self._locals(node.args, node.body)
        self._scopes.append(scope)
        self._body(node.body)
        self._scopes.pop()

    def _nested(self, node: Any) -> None:
        self._target(self._find(node.name))
        self._function(node, name="")

    def _lambda(self, node: ast.Lambda) -> None:
        self._put("lambda")
        self._signature(node.args)
        self._scopes.append(self._locals(node.args, [ast.Expr(node.body)]))
        self._emit(node.body)
        self._scopes.pop()

    def _signature(self, args: ast.arguments) -> None:
        for kind in ("posonlyargs", "args", "vararg", "kwonlyargs", "kwarg"):
            group = getattr(args, kind)
            parameters = group if isinstance(group, list) else [group] if group else []
            self._put(f"{kind} {[parameter.arg for parameter in parameters]}")
            for parameter in parameters:
                self._annotation(parameter.annotation)
        self._emit(args.defaults)
        self._emit(args.kw_defaults)

    def _locals(self, args: ast.arguments, body: Sequence[ast.stmt]) -> dict[str, Target]:
        """Return the names in a function: parameters by their names, other locals by number."""
        parameters = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
        targets = {
            parameter.arg: Target("text", name=parameter.arg)
            for parameter in parameters
            if parameter is not None
        }
        nonlocal_names: set[str] = set()
        for node in _own_nodes(body):
            if isinstance(node, ast.Import | ast.ImportFrom):
                targets |= dict(self._imported(node))
            elif isinstance(node, ast.Global | ast.Nonlocal):
                nonlocal_names |= set(node.names)
            else:
                for name in _bound(node):
                    if name not in targets:
                        targets[name] = Target("text", name=f"${len(self._scopes)}.{len(targets)}")
        return {name: target for name, target in targets.items() if name not in nonlocal_names}

    def _class(self, node: ast.ClassDef, *, name: str) -> None:
        self._put(f"class {name}")
        self._emit(node.decorator_list)
        self._emit(node.bases)
        self._emit(node.keywords)
        methods = [child for child in node.body if isinstance(child, FUNCTIONS)]
        for statement in node.body:
            if isinstance(statement, FUNCTIONS):
                continue
            if self._settings and isinstance(statement, ast.AnnAssign | ast.Assign):
                self._annotation(getattr(statement, "annotation", None))
                continue
            self._member_statement(statement)
        for method in sorted(methods, key=lambda child: child.name):
            if not (self._settings and method.name == "problems"):
                self._function(method, name=method.name)

    def _member_statement(self, statement: ast.stmt) -> None:
        """Write a statement of a class body, whose names are attributes."""
        bound = {name: Target("text", name=name) for name in _bound(statement)}
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                bound[node.id] = Target("text", name=node.id)
        self._scopes.append(bound)
        self._emit(statement)
        self._scopes.pop()

    def _inner_class(self, node: ast.ClassDef) -> None:
        self._class(node, name=node.name)

    def _expression(self, node: ast.Expr) -> None:
        value = node.value
        if isinstance(value, ast.Constant):
            return  # a docstring, or a string below a field
        if isinstance(value, ast.Call):
            target, _ = self._chain(value.func)
            if target is not None and target.kind == "outside":
                return  # a call that prints or reports something
        self._put("Expr")
        self._emit(value)

    def _raise(self, node: ast.Raise) -> None:
        self._put("raise")
        exception = node.exc
        if isinstance(exception, ast.Call):
            target, _ = self._chain(exception.func)
            if target is not None and target.kind == "outside":
                exception = exception.func  # without its message
        self._emit(exception)

    def _assert(self, node: ast.Assert) -> None:
        self._put("assert")
        self._emit(node.test)

    def _annotated(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation)
        self._put("AnnAssign" if node.value is None else "Assign")
        self._emit(node.target)
        if node.value is not None:
            self._emit(node.value)

    def _assign(self, node: ast.Assign) -> None:
        self._put("Assign")
        for target in node.targets:
            self._emit(target)
        self._emit(node.value)

    def _handler(self, node: ast.ExceptHandler) -> None:
        self._put("except")
        self._emit(node.type)
        if node.name:
            self._target(self._find(node.name))
        self._body(node.body)

    def _nothing(self, node: ast.AST) -> None:
        """Skip statements without an effect; imports are resolved where they are used."""


_SPECIAL: dict[type, Callable[[Normaliser, Any], None]] = {
    ast.Name: Normaliser._name,
    ast.Attribute: Normaliser._attribute,
    ast.Constant: Normaliser._constant,
    ast.FunctionDef: Normaliser._nested,
    ast.AsyncFunctionDef: Normaliser._nested,
    ast.Lambda: Normaliser._lambda,
    ast.ClassDef: Normaliser._inner_class,
    ast.Expr: Normaliser._expression,
    ast.Raise: Normaliser._raise,
    ast.Assert: Normaliser._assert,
    ast.AnnAssign: Normaliser._annotated,
    ast.Assign: Normaliser._assign,
    ast.ExceptHandler: Normaliser._handler,
    ast.Import: Normaliser._nothing,
    ast.ImportFrom: Normaliser._nothing,
    ast.Pass: Normaliser._nothing,
}


def _comprehended(statement: ast.stmt) -> dict[str, Target]:
    """Return the variables of the comprehensions in a top-level statement."""
    loops = (node for node in ast.walk(statement) if isinstance(node, ast.comprehension))
    names = [name for loop in loops for node in ast.walk(loop.target) for name in _bound(node)]
    return {name: Target("text", name=f"${n}") for n, name in enumerate(dict.fromkeys(names))}


def _own_nodes(body: Sequence[ast.stmt]) -> Iterator[ast.AST]:
    """Yield the nodes of a function in order, without those of nested functions."""
    waiting: list[ast.AST] = list(reversed(body))
    while waiting:
        node = waiting.pop()
        yield node
        if isinstance(node, (*_SCOPES, ast.ClassDef)):
            continue
        waiting.extend(reversed(list(ast.iter_child_nodes(node))))


def _bound(node: ast.AST) -> list[str]:
    """Return the names that one node binds."""
    if isinstance(node, ast.Name):
        return [node.id] if isinstance(node.ctx, ast.Store) else []
    if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
        return [node.name]
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        return [node.name] if node.name else []
    return [node.rest] if isinstance(node, ast.MatchMapping) and node.rest else []
