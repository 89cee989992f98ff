"""Changes one expression or statement of a module at a time, and lists what its tests let pass.

    python tests/mutate.py sse retry resume lifecycle transport.body_framing
    python tests/mutate.py web.buffer --tests tests/test_web_body.py tests/test_web_opening.py

Each mutant is run against the module's own test file, or those that `--tests` names, in a copy of
the tree. A line of the output is a survivor: a change that none of these tests sees.
CONTRIBUTING.md says which ones are known. Not part of the suite, as it takes minutes.
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import copy
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis  # noqa: F401  # the forks have it at once
import pytest
import requests  # noqa: F401  # so this

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("websopy_sync", "tests", "conftest.py", "pyproject.toml")
NOT_COPIED = shutil.ignore_patterns("node_modules", "__pycache__")
SECONDS = 60.0
"""A mutant whose tests take longer hangs, and so is seen."""

UNCHANGED = ("annotation", "returns", "decorator_list", "bases", "args")
SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv,
    ast.Break: ast.Continue, ast.Continue: ast.Break,
}  # fmt: skip


def changed(node: ast.AST) -> Iterator[ast.AST]:
    """The node with one change, once for each change that is made here."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield ast.Compare(node.left, [SWAPS[type(node.ops[0])](), *node.ops[1:]], node.comparators)
    elif isinstance(node, ast.BoolOp | ast.BinOp) and type(node.op) in SWAPS:
        other = copy.copy(node)
        other.op = SWAPS[type(node.op)]()  # type: ignore[assignment]  # one operator for another
        yield other
    elif isinstance(node, ast.Break | ast.Continue):
        yield SWAPS[type(node)]()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.Constant):
        yield from changed_constant(node.value)
    elif isinstance(node, ast.If | ast.IfExp | ast.While):
        other = copy.copy(node)
        other.test = ast.UnaryOp(ast.Not(), node.test)
        yield other
    elif isinstance(node, ast.Return) and ast.unparse(node) not in ("return", "return None"):
        yield ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Assign | ast.AugAssign | ast.Expr | ast.Raise | ast.Delete):
        yield ast.Pass()


def changed_constant(value: object) -> Iterator[ast.AST]:
    """Another constant of the same type; texts stay, as most are messages."""
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int | float):
        yield ast.Constant(value + 1)
    elif isinstance(value, bytes):
        yield ast.Constant(value + b"?")


def says_nothing(node: ast.AST) -> bool:
    """Whether no behaviour depends on it: a docstring, or a list of public names."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Assign) and ast.unparse(node).startswith("__all__ =")


def mutants(tree: ast.Module) -> Iterator[tuple[int, str, str]]:
    """Line, what was changed, and the whole module's new source."""
    for parent in ast.walk(tree):
        for field, value in ast.iter_fields(parent):
            if field in UNCHANGED and not isinstance(parent, ast.Call):
                continue
            nodes = value if isinstance(value, list) else [value]
            for place, node in enumerate(nodes):
                if not isinstance(node, ast.AST) or says_nothing(node):
                    continue
                for other in changed(node):
                    new = [*nodes[:place], other, *nodes[place + 1 :]]
                    setattr(parent, field, new if isinstance(value, list) else other)
                    source = ast.unparse(ast.fix_missing_locations(tree))
                    was, now = (ast.unparse(each).partition("\n")[0] for each in (node, other))
                    yield getattr(node, "lineno", 0), f"{was}  ->  {now}", source
                    setattr(parent, field, value)


def tests_of(module: str) -> str:
    """The module's own test file, or its folder's: the first of these names that is there."""
    folder, _, name = module.rpartition(".")
    nested = [folder] if "." in folder else []  # wires.gemini.turns is not test_turns.py's
    for each in (module, *nested, name, folder):
        path = f"tests/test_{each.replace('.', '_')}.py"
        if (ROOT / path).exists():
            return path
    sys.exit(f"{module} has no test file: name some by --tests")


def copy_tree(source: Path, folder: Path) -> None:
    """Copy what the tests of a module need."""
    folder.mkdir(exist_ok=True)
    for name in COPIED:
        if (source / name).is_dir():
            shutil.copytree(source / name, folder / name, ignore=NOT_COPIED)
        else:
            shutil.copy(source / name, folder / name)


def survives(folder: Path, module: str, source: str, tests: list[str]) -> bool:
    """Whether these tests pass with this source.

    A fork with pytest imported already costs a third of a new interpreter.
    """
    (folder / "websopy_sync" / f"{module.replace('.', '/')}.py").write_text(source, "utf-8")
    run = multiprocessing.get_context("fork").Process(target=run_tests, args=(folder, tests))
    run.start()
    run.join(SECONDS)
    if run.is_alive():
        run.kill()
        run.join()
    return run.exitcode == 0


def run_tests(folder: Path, tests: list[str]) -> None:
    """Run these tests in this copy of the tree, without a word, and end with their exit code."""
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    options = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore:Module already imported"]
    os._exit(pytest.main([*options, *tests]))


def run(module: str, tests: list[str], workers: int, step: int) -> None:
    """Print the survivors of one module, and how many mutants there were."""
    original = (ROOT / "websopy_sync" / f"{module.replace('.', '/')}.py").read_text("utf-8")
    every = list(mutants(ast.parse(original)))[::step]
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        folders = [Path(scratch, str(number)) for number in range(workers)]
        for folder in folders:
            copy_tree(ROOT, folder)
        passes = survives(folders[0], module, original, tests)
        assert passes, f"the tests of {module} fail as they are"
        with concurrent.futures.ThreadPoolExecutor(workers) as pool:
            shares = [every[number::workers] for number in range(workers)]
            survivors = sum(pool.map(lambda *job: check(module, tests, *job), folders, shares))
    seconds = time.monotonic() - begun
    print(f"{module}: {survivors} of {len(every)} survived, {seconds:.0f} s", flush=True)


def check(module: str, tests: list[str], folder: Path, share: list[tuple[int, str, str]]) -> int:
    """How many of these mutants survive; each is printed."""
    survivors = 0
    for line, change, source in share:
        if survives(folder, module, source, tests):
            survivors += 1
            print(f"{module}:{line}: {change}", flush=True)
    return survivors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="+", help="dotted from the package: transport.pool")
    parser.add_argument("--tests", nargs="+", help="files to run in place of the module's own")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--step", type=int, default=1, help="3: every third mutant only")
    arguments = parser.parse_args()
    for module in arguments.modules:
        tests = arguments.tests or [tests_of(module)]
        run(module, tests, arguments.workers, arguments.step)


if __name__ == "__main__":
    main()
