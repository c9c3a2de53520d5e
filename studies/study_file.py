"""Load the study of a FILE, and change single fields of it from the command line."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from peftnas.search.errors import UsageError
from peftnas.studies import weights
from peftnas.studies.python_errors import explained
from peftnas.studies.source_lines import line_of

if TYPE_CHECKING:
    from peftnas.search.study import Study

_LITERATURE = {
    "autopeft": "autopeft",
    "default": "peftnas_default",
    "llm-adapters": "llm_adapters",
    "nas-for-peft": "nas_for_peft",
    "nas-pet": "nas_pet",
    "noah": "noah",
    "s3pet": "s3pet",
    "s4": "s4",
    "unipelt": "unipelt",
}
READY_MADE = {"quickstart": "peftnas.studies.quickstart"} | {
    name: f"peftnas.studies.literature.{module}" for name, module in _LITERATURE.items()
}
"""Words that stand for a study of this package, by the study's name."""


@dataclass(frozen=True)
class StudyFile:
    """A study and where it was defined.

    Attributes:
        study: the module's ``study``.
        module: the module; classes that it defines go to the workers by value.
        base: the folder that its relative paths start from.
        by_value: whether workers cannot import the module by its name.
        shown: how the user named it.
    """

    study: Study
    module: ModuleType
    base: Path
    by_value: bool
    shown: str = ""

    def defining(self, architecture: dict[str, Any]) -> Path | None:
        """The file, if it defines one of an architecture's methods; ``None`` if it does not.

        Args:
            architecture: as ``Architecture.to_dict`` gives it.
        """
        own = {
            value.kind
            for value in vars(self.module).values()
            if getattr(value, "__module__", None) == self.module.__name__
            and hasattr(value, "kind")
        }
        if own.isdisjoint(method["kind"] for method in architecture["methods"]):
            return None
        return Path(str(self.module.__file__))


def load_study(file: str) -> StudyFile:
    """The study that FILE, or a word such as ``quickstart``, stands for.

    Raises:
        UsageError: if the file is missing, cannot be run, or has no module-level ``study``.
    """
    from peftnas.search.study import Study

    if file in READY_MADE:
        module = importlib.import_module(READY_MADE[file])
        return StudyFile(module.study, module, Path.cwd(), by_value=False, shown=file)
    path = Path(file).expanduser().absolute()
    if not path.is_file():
        known = ", ".join(READY_MADE)
        raise UsageError(
            f"FILE must be a Python file that defines a study, but there is no file {file}; "
            f"correct the path, or use a ready-made one: {known}"
        )
    module = _run_file(path, file)
    found = getattr(module, "study", None)
    if not isinstance(found, Study):
        got = "none" if not hasattr(module, "study") else f"{type(found).__name__}"
        raise UsageError(
            f"{file} must have a module-level study = Study(...), got {got}; add it to the file"
        )
    found = replace(found, backbone=weights.meant(found.backbone))
    return StudyFile(found, module, path.parent, by_value=True, shown=file)


def changed(study: Study, changes: Iterable[str]) -> Study:
    """The study with fields replaced as ``--set`` says.

    Args:
        study: the study of the file.
        changes: ``recipe.FIELD=VALUE`` or ``name=VALUE``, in order.
    Raises:
        UsageError: if a change names no such field, or the field does not take the value.
    """
    for change in changes:
        target, equals, text = change.partition("=")
        if not equals or not text:
            raise UsageError(f"--set takes FIELD=VALUE such as recipe.steps=200, got {change!r}")
        place, _, field = target.strip().rpartition(".")
        if place == "recipe":
            study = _with_recipe(study, field, _value(text.strip()))
        elif target.strip() == "name":
            study = replace(study, name=text.strip())
        else:
            raise UsageError(f"--set can change recipe.FIELD and name, got {target.strip()!r}")
    return study


def _with_recipe(study: Study, field: str, value: Any) -> Study:
    from peftnas.spaces.fields import settings

    known = settings(type(study.recipe))
    if field not in known:
        raise UsageError(f"--set: a recipe has no field {field!r}; its fields: {', '.join(known)}")
    try:
        return replace(study, recipe=study.recipe.replace(**{field: value}))
    except ValueError as error:
        raise UsageError(f"--set recipe.{field}: {error}") from error


def _value(text: str) -> Any:
    """A Python number, string or tuple; a bare word is a string."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _run_file(path: Path, shown: str) -> ModuleType:
    """Run a file as a module of its own name, so that two files never share one."""
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"peftnas_file_{path.stem}_{digest}"
    try:
        text = path.read_bytes()
        code = compile(text, str(path), "exec")
    except SyntaxError as error:
        raise UsageError(
            f"{shown}, line {error.lineno}: {error.msg}; correct that line"
        ) from error
    except (OSError, ValueError) as error:
        raise UsageError(f"{shown} cannot be read as Python: {error}") from error
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None:  # a suffix other than .py
        raise UsageError(f"FILE must end in .py, got {shown}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.insert(
            0, str(path.parent)
        )  # as python FILE would: its neighbours can be imported
    try:
        exec(code, module.__dict__)  # noqa: S102 - running the user's file is the purpose
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        sentence = explained(error, module, ours=_raised_elsewhere(error, path))
        line = line_of(error, sentence, text, str(path), module)
        place = shown if line is None else f"{shown}, line {line}"
        raise UsageError(f"{place}: {sentence}") from error
    return module


def _raised_elsewhere(error: BaseException, path: Path) -> bool:
    """Whether the file called what raised the error."""
    frames = traceback.extract_tb(error.__traceback__)
    return frames[-1].filename != str(path)
