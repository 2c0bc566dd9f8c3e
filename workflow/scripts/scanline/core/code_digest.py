"""A digest of what a rule's script does: it changes with the code that runs, and with nothing else.

Rules carry it as a parameter, so that a job runs again when a function that its script reaches was edited,
and not when a file was touched, checked out anew, or its comments and docstrings rewritten. Modules are
parsed and never imported; no path of this machine enters the digest.

Two constants at the top level of a module steer it. `PRESENTATION_ONLY = True` leaves the module out, and
what only it imports, as nothing in it changes a result. `DIGESTED_FILES = ("page.css", ...)` adds the bytes
of files, named relative to the module's folder. A module that is imported by a computed name, as registries
do, is not followed: the rule names its pick.

Parsing all modules takes a second, and on a cluster each job's Snakemake would do it twice. So what was found in a
module can be kept in a file (`ParsedModules`), by the digest of its source.
"""

import ast
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from scanline.core.errors import InputError
from scanline.core.files import write_json

DIGITS = 16


@dataclass(frozen=True)
class _Module:
    """What the digest needs of one Python file."""

    content: str  # digest of its code, docstrings left out, and of the files it declares
    imports: tuple[str, ...]  # dotted names of what it may import, modules and names in modules alike
    presentation_only: bool


class ParsedModules:
    """What was found in modules, kept between processes by the digest of their source.

    Args:
        path: The file. One that is missing, damaged or of another version of this module counts as empty; one that
            cannot be written is not kept.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._version = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
        self._used: dict[str, _Module] = {}
        self._known: dict[str, _Module] = {}
        self._is_new = False
        with suppress(OSError, ValueError, TypeError, KeyError):
            kept = json.loads(path.read_text("utf-8"))
            if kept["version"] == self._version:
                self._known = {
                    key: _Module(str(facts["content"]), tuple(facts["imports"]), bool(facts["presentation_only"]))
                    for key, facts in kept["modules"].items()
                }

    def find(self, key: str) -> _Module | None:
        """What was found in the module of this key."""
        found = self._known.get(key)
        if found is not None:
            self._used[key] = found
        return found

    def keep(self, key: str, module: _Module) -> None:
        """Keep what was found in a module."""
        self._known[key] = self._used[key] = module
        self._is_new = True

    def save(self) -> None:
        """Write the modules that this process met, where it met a new one."""
        if self._is_new:
            values = {key: asdict(module) for key, module in self._used.items()}
            with suppress(OSError):
                write_json(self.path, {"version": self._version, "modules": values})
            self._is_new = False


def code_digest(
    scripts: Path, rule: str, environment: Path, modules: Sequence[str] = (), parsed: ParsedModules | None = None
) -> str:
    """Digest what the script of a rule does.

    Covers the script `<scripts>/<rule>.py`, every module below `scripts` that it imports, directly or not,
    the files they declare, and the packages pinned by the rule's environment. Kept for the process.

    Args:
        scripts: Folder of the scripts and of the packages they import.
        rule: Name of the rule and of its script.
        environment: The rule's conda environment file; its `dependencies` count, in any order.
        modules: Dotted names of the modules that the script picks by name from a registry, for this rule.
        parsed: What earlier processes found in the modules; it does not change the digest.

    Returns:
        16 hexadecimal digits.

    Raises:
        InputError: If the script, a named module, a declared file or the environment is missing, or does not
            parse.
    """
    digest = _code_digest(scripts, rule, environment, tuple(sorted(modules)), parsed)
    if parsed is not None:
        parsed.save()
    return digest


@cache
def _code_digest(
    scripts: Path, rule: str, environment: Path, modules: tuple[str, ...], parsed: ParsedModules | None
) -> str:
    script = scripts / f"{rule}.py"
    if not script.is_file():
        raise InputError(
            script,
            found="no such file",
            expected=f"the script of rule {rule}",
            next_step="Name it like its rule.",
        )
    main = _read_module(script, "", parsed)
    reached = _reached_modules(scripts, [*main.imports, *_checked(scripts, modules)], parsed)
    parts = {"script": main.content, "modules": reached, "packages": _pinned_packages(environment)}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:DIGITS]


def _checked(scripts: Path, modules: Sequence[str]) -> Sequence[str]:
    """The names of a registry's picks, each of which must be a module."""
    for name in modules:
        if _module_file(scripts, name) is None:
            folder = scripts.joinpath(*name.split(".")[:-1])
            known = sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__")
            raise InputError(
                f"module {name}",
                found="no such module",
                expected=f"one of {', '.join(known)}" if known else f"a module in {folder}",
                next_step="Mend the name in the study file, or add the module.",
            )
    return modules


def _reached_modules(scripts: Path, names: Sequence[str], parsed: ParsedModules | None = None) -> dict[str, str]:
    """Digests of all modules below `scripts` that these imports lead to, by dotted name."""
    reached: dict[str, str] = {}
    seen: set[str] = set()
    waiting = [part for name in names for part in _with_packages(name)]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        file = _module_file(scripts, name)
        if file is None:  # another package's module, or a name defined in a module
            continue
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        module = _read_module(file, package, parsed)
        if not module.presentation_only:
            reached[name] = module.content
            waiting += [part for imported in module.imports for part in _with_packages(imported)]
    return reached


def _with_packages(name: str) -> Iterator[str]:
    """`a`, `a.b`, `a.b.c` for `a.b.c`: to import a module is to run its packages first."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[:count])


def _module_file(scripts: Path, name: str) -> Path | None:
    """The file of a module or package below `scripts`, a package first, as Python looks them up."""
    path = scripts.joinpath(*name.split("."))
    for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
        if file.is_file():
            return file
    return None


@cache
def _read_module(path: Path, package: str, parsed: ParsedModules | None = None) -> _Module:
    """Parse one file, unless an earlier process did.

    Args:
        path: The file.
        package: The package that its relative imports start from; empty for a script.
        parsed: What earlier processes found.
    """
    source = path.read_bytes()
    key = hashlib.sha256(package.encode() + b"\0" + source).hexdigest()
    found = parsed.find(key) if parsed is not None else None
    if found is None:
        found, declares_files = _parse_module(path, source, package)
        if parsed is not None and not declares_files:  # the bytes of those files would have to be in the key
            parsed.keep(key, found)
    return found


def _parse_module(path: Path, source: bytes, package: str) -> tuple[_Module, bool]:
    """What a source says, and whether it declares files."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        raise InputError(
            path, found=str(error), expected="Python code", next_step="Mend the file; nothing was run."
        ) from error
    tree = ast.fix_missing_locations(_OnlyWhatRuns().visit(tree))
    constants = _constants(tree)
    digest = hashlib.sha256(ast.unparse(tree).encode())
    files = _declared_files(path, constants.get("DIGESTED_FILES"))
    for file in files:
        digest.update(b"\0" + file.encode() + b"\0" + _bytes_digest(path, file))
    module = _Module(
        content=digest.hexdigest(),
        imports=tuple(sorted(set(_imports(tree, package)))),
        presentation_only=_is_true(constants.get("PRESENTATION_ONLY")),
    )
    return module, bool(files)


class _OnlyWhatRuns(ast.NodeTransformer):
    """Takes out docstrings, other strings that stand alone, and what only a type checker reads.

    F-strings are spelled out as calls of their parts: `ast.unparse` quotes them otherwise in Python 3.11 than
    in 3.12, and early 3.12 adds empty parts to them.
    """

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Drop a string that stands alone."""
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return None
        return self.generic_visit(node)

    def visit_If(self, node: ast.If) -> ast.AST | list[ast.stmt]:
        """Put the `else` of `if TYPE_CHECKING` in its place."""
        self.generic_visit(node)
        name = node.test.attr if isinstance(node.test, ast.Attribute) else getattr(node.test, "id", None)
        return node.orelse if name == "TYPE_CHECKING" else node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.Call:
        """Spell an f-string out as a call of its parts."""
        self.generic_visit(node)
        parts = [part for part in node.values if not (isinstance(part, ast.Constant) and part.value == "")]
        return ast.Call(func=ast.Name(id="__f_string__", ctx=ast.Load()), args=parts, keywords=[])

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.Tuple:
        """Spell a replacement field out as value, conversion (-1: none), format."""
        self.generic_visit(node)
        form = node.format_spec or ast.Constant(value=None)
        return ast.Tuple(elts=[node.value, ast.Constant(value=node.conversion), form], ctx=ast.Load())

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Visit a node's children, and give a body that lost all its statements a `pass`."""
        super().generic_visit(node)
        if getattr(node, "body", None) == [] and not isinstance(node, ast.Module):
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """The values assigned to plain names at the top level of a module."""
    found: dict[str, ast.expr] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            found |= {target.id: statement.value for target in statement.targets if isinstance(target, ast.Name)}
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            found[statement.target.id] = statement.value
    return found


def _is_true(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


def _declared_files(path: Path, value: ast.expr | None) -> list[str]:
    """The names in a module's DIGESTED_FILES, sorted."""
    if value is None:
        return []
    try:
        names = ast.literal_eval(value)
    except ValueError:
        names = None
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"{path}: DIGESTED_FILES",
            found=ast.unparse(value),
            expected="a tuple of file names",
            next_step="Write the names out.",
        )
    return sorted(names)


def _bytes_digest(module: Path, name: str) -> bytes:
    """Digest of a file that a module declares, named relative to the module's folder."""
    try:
        return hashlib.sha256((module.parent / name).read_bytes()).digest()
    except OSError as error:
        raise InputError(
            f"{module}: DIGESTED_FILES",
            found=f"{name!r}: {error.strerror}",
            expected=f"a file in {module.parent}",
            next_step="Mend the name.",
        ) from error


def _imports(tree: ast.Module, package: str) -> Iterator[str]:
    """Dotted names of all that a module may import, wherever in it the import stands."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            if base is not None:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


def _absolute(node: ast.ImportFrom, package: str) -> str | None:
    """The dotted name that `from ... import` starts from; none where it leads out of all packages."""
    if node.level == 0:
        return node.module
    parts = package.split(".") if package else []
    kept = len(parts) - (node.level - 1)
    if kept < 1:
        return None
    return ".".join([*parts[:kept], *([node.module] if node.module else [])])


@cache
def _pinned_packages(environment: Path) -> list[str]:
    """The packages of a conda environment file, those that pip installs among them, sorted."""
    try:
        values: Any = yaml.safe_load(environment.read_text("utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise InputError(
            environment,
            found=str(error),
            expected="a conda environment file",
            next_step="Mend or restore it.",
        ) from error
    dependencies = values.get("dependencies") if isinstance(values, dict) else None
    if not isinstance(dependencies, list):
        raise InputError(
            f"{environment}: dependencies",
            found="no list",
            expected="a list of packages",
            next_step="Add it.",
        )
    packages: list[str] = []
    for dependency in dependencies:
        if isinstance(dependency, dict):
            packages += [f"{tool}: {package}" for tool, listed in dependency.items() for package in listed or ()]
        else:
            packages.append(str(dependency))
    return sorted(packages)
