"""What Python says of a wrong study file, with the rule and the remedy it leaves out."""

from __future__ import annotations

import builtins
import importlib
import inspect
import re
from types import ModuleType
from typing import Any

from peftnas.spaces.nearest import did_you_mean

# where what a study's file needs is imported from
_HOMES = (
    "peftnas",
    "peftnas.methods",
    "peftnas.spaces",
    "peftnas.studies.tasks",
    "peftnas.search",
)


def explained(error: BaseException, module: ModuleType, ours: bool) -> str:
    """One sentence on an error that was raised while a file ran.

    Args:
        error: as it was caught.
        module: that the file was run as.
        ours: whether code of a library raised it, not the file itself.
    """
    reason = " ".join(str(error).split())
    if isinstance(error, ValueError) and reason:
        return reason
    match error:
        case TypeError() if ours and ", got " in reason:  # a sentence of its own
            return reason
        case TypeError():
            return _wrong_arguments(reason, module) or f"TypeError: {reason}"
        case NameError(name=str(name)):
            known = [*vars(module), *vars(builtins)]
            return f"NameError: {reason}; {_meant(name, known, 'import or define it')}"
        case ImportError():
            return _not_offered(reason) or f"{type(error).__name__}: {reason}"
        case AttributeError(name=str(name), obj=obj):
            known = [one for one in dir(obj) if not one.startswith("_")]
            return f"AttributeError: {reason}; {_meant(name, known, 'correct the name')}"
    return f"{type(error).__name__}: {reason}".removesuffix(": ")


def _not_offered(reason: str) -> str | None:
    """What is said of a name that a module does not have."""
    found = re.match(r"cannot import name '(\w+)' from '([\w.]+)'", reason)
    if found is None:
        return None
    name, home = found.groups()
    other = next((one for one in _HOMES if one != home and name in _public(one)), None)
    if home.partition(".")[0] == "peftnas" and other is not None:
        return f"{home} has no {name!r}; write from {other} import {name}"
    return f"{home} has no {name!r}; {_meant(name, _public(home), 'correct the name')}"


def _wrong_arguments(reason: str, module: ModuleType) -> str | None:
    """What is said of arguments that a signature does not have, or needs."""
    found = re.match(r"([\w.]+)\(\) (.*)", reason)
    if found is None:
        return None
    name = found[1].removesuffix(".__init__").removesuffix(".__new__")
    called: Any = module
    for part in name.split("."):
        called = getattr(called, part, None)
    if called is None or not callable(called):
        return None
    takes = _arguments(called)
    unexpected = re.search(r"unexpected keyword argument '(\w+)'", found[2])
    if unexpected is not None:
        wrong = unexpected[1]
        words = did_you_mean(wrong, takes)
        return f"{name} takes {', '.join(takes)}, got {wrong!r}; {words}"
    missing = re.search(r"missing .*?: (.*)", found[2])
    if missing is not None:
        return f"{name} needs {', '.join(_needed(called))}, got no {missing[1]}; add it"
    return f"{name} takes {', '.join(takes)}, got other arguments ({found[2]}); drop what is more"


def _arguments(called: Any) -> list[str]:
    parameters = list(inspect.signature(called).parameters.values())
    return [f"*{one.name}" if one.kind is one.VAR_POSITIONAL else one.name for one in parameters]


def _needed(called: Any) -> list[str]:
    """The arguments that have no default."""
    parameters = inspect.signature(called).parameters.values()
    return [one.name for one in parameters if one.default is one.empty]


def _meant(name: str, known: list[str], otherwise: str) -> str:
    """The remedy for a name that is none of some."""
    plain = {one.lower(): one for one in known}
    if name.lower() in plain:
        return f"did you mean {plain[name.lower()]!r}?"
    said = did_you_mean(name, known)
    return said if said.startswith("did you mean") else otherwise


def _public(home: str) -> list[str]:
    """What a module, which is imported already, offers."""
    module = importlib.import_module(home)
    return [one for one in getattr(module, "__all__", vars(module)) if one[0] != "_"]
