"""The house rules that the folders keep: import direction, sizes, light imports."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ORDER = ("spaces", "methods", "search", "studies")
FILES = [path for folder in ORDER for path in sorted((ROOT / folder).rglob("*.py"))]
LONGEST_FILE = 350


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a file imports, at the top or inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; name peftnas.X"
            module = node.module or ""
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    folder = path.relative_to(ROOT).parts[0]
    allowed = ORDER[: ORDER.index(folder) + 1]
    for name in imported(path):
        parts = name.split(".")
        assert parts[0] not in ORDER, f"{path}: import peftnas.{parts[0]}, not {parts[0]}"
        if parts[0] == "peftnas" and len(parts) > 1 and parts[1] in ORDER:
            assert parts[1] in allowed, f"{path}: {folder} may not import peftnas.{parts[1]}"


@pytest.mark.parametrize(
    ("package", "homes"),
    [
        ("optuna", ("search", "studies/benchmarks")),
        ("ray", ("search/cluster", "studies/benchmarks")),
        ("torch", ("methods", "search", "studies")),
        ("transformers", ("methods", "search", "studies")),
    ],
)
def test_packages_stay_in_their_rooms(package: str, homes: tuple[str, ...]) -> None:
    for path in FILES:
        place = path.relative_to(ROOT).as_posix()
        if any(name.split(".")[0] == package for name in imported(path)):
            assert place.startswith(tuple(f"{home}/" for home in homes)), f"{place}: {package}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_stay_readable(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


def modules_after(statement: str) -> set[str]:
    """Top-level modules loaded in a fresh process after a statement."""
    code = f"import sys; {statement}; print(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_peftnas_is_light() -> None:
    assert not {"torch", "optuna", "ray", "transformers", "numpy"} & modules_after(
        "import peftnas"
    )


def test_import_spaces_is_light() -> None:
    loaded = modules_after("import peftnas.spaces")
    assert "peftnas" in loaded
    assert not {"torch", "optuna", "ray", "transformers"} & loaded


def test_import_search_and_studies_of_it_need_no_ray() -> None:
    assert "ray" not in modules_after(
        "import peftnas.search; from peftnas.search import Study, OptunaObjective, open_results"
    )


def test_lazy_names_exist() -> None:
    import peftnas
    import peftnas.search

    for package in (peftnas, peftnas.search):
        for name in package.__all__:
            assert getattr(package, name).__name__ == name
