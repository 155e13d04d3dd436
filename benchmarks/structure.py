"""How the code is divided: rooms, flat modules, the longest chain of imports, arrows between rooms, what is long.

    python benchmarks/structure.py [CHECKOUT]

A room is a folder of the package, or a module that lies beside them. An arrow runs from a room to one that it imports
from (imports for types alone apart); a chain is counted by rooms and by modules. Measures nothing that takes time.
"""

from __future__ import annotations

import ast
import os
import statistics
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent).resolve()
PACKAGE = ROOT / "src" / "millwork"


def modules() -> dict[str, Path]:
    found = {}
    for folder, _, files in os.walk(PACKAGE, followlinks=True):
        for path in (Path(folder, name) for name in files if name.endswith(".py")):
            parts = path.relative_to(PACKAGE).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str) -> Iterator[str]:
    path = MODULES[name]
    package = [*name.split("."), ""] if path.name == "__init__.py" else name.split(".")
    tree = ast.parse(path.read_text())
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and id(node) not in for_types:
            base = ".".join([*package[: -node.level], *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{base}.{alias.name}".strip(".")
                yield inner if inner in MODULES else base


GRAPH = {name: {to for to in imports(name) if to and to != name} for name in MODULES if name}
ROOMS: dict[str, set[str]] = {}
for own, others in GRAPH.items():
    ROOMS.setdefault(own.split(".")[0], set()).update(to.split(".")[0] for to in others)


def longest(graph: dict[str, set[str]]) -> int:
    @cache
    def floors(name: str) -> int:
        return 1 + max((floors(to) for to in graph[name] if to != name), default=0)

    return max(map(floors, graph))


def functions() -> Iterator[tuple[int, int]]:
    """Lines and parameters of each."""
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args
                taken = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
                yield (node.end_lineno or 0) - node.lineno + 1, len([a for a in taken if a not in ("self", "cls")])


def main() -> None:
    texts = {name: path.read_text() for name, path in MODULES.items()}
    lines = [len(text.splitlines()) for text in texts.values()]
    long = [found for found in functions() if found[0] > 50 or found[1] > 8]
    print(f"modules {len(MODULES)}, median {statistics.median(lines):.0f} lines, longest {max(lines)}")
    flat = [name for name in GRAPH if "." not in name and MODULES[name].name != "__init__.py"]
    print(f"flat modules in src/millwork: {len(flat)}")
    arrows = sum(len(to - {room}) for room, to in ROOMS.items())
    print(f"rooms {len(ROOMS)}, arrows between them {arrows}")
    print(f"longest chain of imports: {longest(ROOMS)} rooms, {longest(GRAPH)} modules")
    print(f"functions {sum(1 for _ in functions())}, above 50 lines or 8 parameters: {len(long)}")
    print(f"# fmt: skip: {sum(text.count('# fmt: skip') for text in texts.values())}")


if __name__ == "__main__":
    main()
