# Copyright (c) Lamplighter contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Break a Python file in one place after the other and list the breaks that no test notices.

usage: tools/mutate.py FILE [TEST...]          (from the repository, with .venv/bin/python)

Works on a copy, so the work tree is left alone. Without TEST, all unit tests run for each mutant.
Survivors are questions, not errors: some mutants mean the same as the original.
"""

from __future__ import annotations

import ast
import copy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTATION = {"DOCUMENTATION", "EXAMPLES", "RETURN"}
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Break: ast.Continue,
    ast.Continue: ast.Break,
}


def replacements(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in the place of this node."""
    if type(node) in SWAPS:
        yield SWAPS[type(node)]()
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, (int, float)):
        yield ast.Constant(node.value + 1)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value:
        yield ast.Constant(f"{node.value} mutated")
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.IfExp):
        yield node.body
        yield node.orelse
    elif isinstance(node, ast.Return) and node.value is not None:
        yield ast.Return(ast.Constant(None))


def mutants(source: str) -> Iterator[tuple[int, str, str]]:
    """Line, what was done, and the new source; docstrings, documentation and annotations stay."""
    tree = ast.parse(source)
    kept: set[int] = set()
    for node in ast.walk(tree):
        children: list[ast.AST | None]
        if isinstance(node, ast.Expr):
            children = [node.value] if isinstance(node.value, ast.Constant) else []
        elif isinstance(node, ast.Assign):
            children = [node.value] if getattr(node.targets[0], "id", "") in DOCUMENTATION else []
        else:
            children = [getattr(node, "annotation", None), getattr(node, "returns", None)]
        kept |= {id(inner) for child in children if child for inner in ast.walk(child)}
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            for index, node in enumerate(value if isinstance(value, list) else [value]):
                if not isinstance(node, ast.AST) or id(node) in kept or isinstance(parent, ast.JoinedStr):
                    continue
                for new in replacements(node):
                    broken = copy.copy(value)
                    if isinstance(value, list):
                        broken[index] = new
                    setattr(parent, field, broken if isinstance(value, list) else new)
                    line = getattr(node, "lineno", getattr(parent, "lineno", 0))
                    yield line, ast.unparse(parent)[:100], ast.unparse(ast.fix_missing_locations(tree))
                    setattr(parent, field, value)


def main(file: str, *tests: str) -> int:
    survivors = total = 0
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder, "x")
        shutil.copytree(ROOT, copied, symlinks=True, ignore=shutil.ignore_patterns(".*", "__pycache__"))
        run = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", *(tests or ("tests/unit",))]
        target = copied / Path(file).resolve().relative_to(ROOT)
        source = target.read_text()
        if subprocess.run(run, cwd=copied, capture_output=True, check=False).returncode:
            sys.exit("The tests fail before anything is broken.")
        for line, change, text in mutants(source):
            total += 1
            target.write_text(text)
            try:
                noticed = subprocess.run(run, cwd=copied, capture_output=True, timeout=120, check=False).returncode != 0
            except subprocess.TimeoutExpired:
                noticed = True
            if not noticed:
                survivors += 1
                print(f"{file}:{line}: survived: {change}".replace("\n", " "), flush=True)
    print(f"{total} mutants, {survivors} survived.")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) if len(sys.argv) > 1 else __doc__)
