"""Hash all code in a source tree that is reachable from given entry functions.

A definition is hashed together with the definitions that it refers to, so its location and name do
not matter: moving a module, renaming it, reordering it or adding a comment does not change the
hash; changing a constant, an expression, a default or a file that the code reads does.

Reachable are the entry functions and, recursively, every definition that they use through imports
and attributes of modules. A class includes all its methods, and a module that is used as a value
includes all its definitions. A method call on an object is resolved through the classes that the
code constructs or that annotations name. Module-level statements with side effects belong to all
definitions of the module. Code that is selected by a name at run time must be listed as an entry.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from experiments.records.provenance.syntax import FUNCTIONS, Normal, Normaliser, Target

Key = tuple[str, str]
"""A module and the name of a definition in it; an empty name stands for the module's side
effects."""

# Rounds in which each definition is hashed with those it refers to, as in Weisfeiler-Lehman
# refinement of graph labels, so that recursion needs no special case. Definitions at a greater
# distance are part of the closure's hash, but not of this definition's label.
_ROUNDS = 8
_LIBRARY = "library"


class Closure:
    """The definitions of a source tree, which are read and hashed when they are reached."""

    def __init__(
        self,
        source: Path,
        *,
        outside: Sequence[str] = (),
        settings: Sequence[str] = (),
        without: Sequence[str] = (),
    ) -> None:
        """Find the modules of a package.

        Args:
            source: the package's folder.
            outside: modules of the package that do not affect results (messages, progress); they
                are not followed.
            settings: modules of the package whose classes are the config.
            without: folders whose files are not resources of the code.
        """
        self._package = source.name
        self._outside = tuple(f"{self._package}.{name}" for name in outside)
        self._settings = tuple(f"{self._package}.{name}" for name in settings)
        self._modules: dict[str, _Module] = {}
        self._resources: dict[str, list[Path]] = {}
        for file in source.rglob("*"):
            relative = file.relative_to(source)
            if file.suffix == ".py":
                name = ".".join([self._package, *relative.with_suffix("").parts])
                name = name.removesuffix(".__init__")
                self._modules[name] = _Module(self, name, file)
            elif file.suffix not in (".pyc", "") and not within(relative, without):
                self._resources.setdefault(file.name, []).append(file)
        self._normal: dict[Key, Normal] = {}

    def hash(self, entries: Iterable[str]) -> str:
        """Return a hash of everything that the entries reach.

        An entry is a dotted name such as `"experiments.data.build"`.

        Raises:
            KeyError: there is no such definition.
        """
        roots = [self._root(entry) for entry in entries]
        reached = self._reached(roots)
        labels = {key: _digest(self._own_syntax(key)) for key in reached}
        for _ in range(_ROUNDS):
            labels = {
                key: _digest(
                    [labels[key], *(labels[reference] for reference in self._references(key))]
                )
                for key in reached
            }
        digest = [*(labels[root] for root in roots), *sorted(set(labels.values()))]
        return _digest(digest)[:16]

    def resolve(self, module: str, name: str) -> Target:
        """Return the target of a module's attribute."""
        source_module = self._modules.get(module)
        if source_module is None:
            return Target("text", _LIBRARY, f"{module}.{name}")
        if module in self._outside or module.startswith(tuple(f"{o}." for o in self._outside)):
            return Target("outside", module, name)
        # A package may import its own submodule: `from experiments.data import cache`.
        if source_module.aliases.get(name, (module, name)) != (module, name):
            return self.target(*source_module.aliases[name])
        if name in source_module.statements:
            return Target("definition", module, name)
        if f"{module}.{name}" in self._modules:
            return self._module(f"{module}.{name}")
        return Target("text", "", name)

    def target(self, module: str, name: str | None) -> Target:
        """Return the target of an import: a module, or a name in one."""
        if name is not None:
            return self.resolve(module, name)
        return self._module(module)

    def _module(self, name: str) -> Target:
        if name in self._modules:
            return Target("module", name, "")
        return Target("text", _LIBRARY, name)

    def member(self, target: Target, name: str) -> Target:
        """Return the target of an attribute of a project module or of a library."""
        if target.kind == "module":
            return self.resolve(target.module, name)
        return Target("text", _LIBRARY, f"{target.name}.{name}")

    def _root(self, entry: str) -> Key:
        module, _, name = entry.rpartition(".")
        target = self.resolve(module, name)
        if target.kind != "definition":
            raise KeyError(f"{entry} is no definition of {self._package}")
        return target.module, target.name

    def _reached(self, roots: Sequence[Key]) -> list[Key]:
        reached: dict[Key, None] = {}
        waiting = list(roots)
        while waiting:
            key = waiting.pop()
            if key in reached:
                continue
            reached[key] = None
            normal = self._read(key)
            waiting += self._references(key)
            waiting += [(target.module, target.name) for target in normal.annotated]
            if self._modules[key[0]].effects:
                waiting.append((key[0], ""))
        return list(reached)

    def _references(self, key: Key) -> list[Key]:
        keys: list[Key] = []
        for target in self._read(key).references:
            if target.kind == "definition":
                keys.append((target.module, target.name))
            else:
                keys += [(target.module, name) for name in sorted(self._public(target.module))]
        return keys

    def _public(self, module: str) -> Iterator[str]:
        return (name for name in self._modules[module].statements if not name.startswith("__"))

    def _read(self, key: Key) -> Normal:
        if key not in self._normal:
            module, name = key
            self._normal[key] = self._modules[module].normal(name, self._is_settings(module))
        return self._normal[key]

    def _is_settings(self, module: str) -> bool:
        return any(module == prefix or module.startswith(f"{prefix}.") for prefix in self._settings)

    def _own_syntax(self, key: Key) -> list[str]:
        """Return a definition's own syntax, with the contents of the files that it names."""
        normal = self._read(key)
        files = [file for name in sorted(normal.strings) for file in self._resources.get(name, ())]
        contents = sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)
        return [*normal.tokens, *contents]


class _Module:
    """One file: its top-level statements by the names that they bind, parsed on first use."""

    def __init__(self, closure: Closure, name: str, file: Path) -> None:
        self._closure = closure
        self._name = name
        self._file = file
        self._is_read = False
        self._aliases: dict[str, tuple[str, str | None]] = {}
        self._statements: dict[str, list[ast.stmt]] = {}
        self._effects: list[ast.stmt] = []

    @property
    def aliases(self) -> dict[str, tuple[str, str | None]]:
        """Maps an imported name to its module and the name there (None: the module itself)."""
        self._read()
        return self._aliases

    @property
    def statements(self) -> dict[str, list[ast.stmt]]:
        """Maps a name to the statements that bind it."""
        self._read()
        return self._statements

    @property
    def effects(self) -> list[ast.stmt]:
        """Statements that bind no name and have an effect on import."""
        self._read()
        return self._effects

    def normal(self, name: str, settings: bool) -> Normal:
        """Return the normal form of a definition.

        For an empty name, return that of the module's side effects.
        """
        normaliser = Normaliser(self._find, self._closure.member, self._bindings, settings=settings)
        for statement in self.statements[name] if name else self.effects:
            normaliser.add(statement)
        return normaliser.normal

    def _find(self, name: str) -> Target:
        if name in self.aliases or name in self.statements:
            return self._closure.resolve(self._name, name)
        return Target("text", "", name)

    def _bindings(self, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Target]]:
        for name, (module, attribute) in self._imported(node):
            yield name, self._closure.target(module, attribute)

    def _read(self) -> None:
        if self._is_read:
            return
        self._is_read = True
        for statement in ast.parse(self._file.read_bytes()).body:
            self._add(statement)

    def _add(self, statement: ast.stmt) -> None:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self._aliases |= dict(self._imported(statement))
            return
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
            return
        names = list(_bound_by(statement))
        for node in ast.walk(statement) if isinstance(statement, ast.If | ast.Try) else ():
            if isinstance(node, ast.Import | ast.ImportFrom):
                for name, target in self._imported(node):
                    self._aliases.setdefault(name, target)
        for name in names:
            self._statements.setdefault(name, []).append(statement)
        if not names and not _only_imports(statement):
            self._effects.append(statement)

    def _imported(
        self, node: ast.Import | ast.ImportFrom
    ) -> Iterator[tuple[str, tuple[str, str | None]]]:
        """Yield each name that an import binds, with the module and the name that it refers to."""
        if isinstance(node, ast.Import):
            for alias in node.names:
                module_name = alias.name if alias.asname else alias.name.partition(".")[0]
                yield alias.asname or module_name, (module_name, None)
            return
        module = node.module or ""
        if node.level:
            parts = self._name.split(".")
            package = parts if self._file.name == "__init__.py" else parts[:-1]
            base = package[: len(package) - node.level + 1]
            module = ".".join([*base, module] if module else base)
        for alias in node.names:
            yield alias.asname or alias.name, (module, alias.name)


def within(relative: Path, folders: Sequence[str]) -> bool:
    """Return whether a relative path is in one of the folders."""
    return any(relative.is_relative_to(folder) for folder in folders)


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    """Yield the names that a top-level statement binds, except by imports."""
    if isinstance(statement, (*FUNCTIONS, ast.ClassDef)):
        yield statement.name
        return
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            yield node.name
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        if not isinstance(node, ast.comprehension | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def _only_imports(statement: ast.stmt) -> bool:
    """Return whether a condition contains nothing but imports."""
    parts = [*getattr(statement, "body", [statement]), *getattr(statement, "orelse", [])]
    return all(isinstance(part, ast.Import | ast.ImportFrom | ast.Pass) for part in parts)


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
