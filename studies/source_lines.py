"""Which line of a study's file an error is about: the wrong expression, not the call around it."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peftnas.studies.study_file import StudyFile

_DOTTED = re.compile(r"\b([A-Za-z]\w*)\.([a-z_]\w*)")
# what sentences say of the constraint that a function makes
_CONSTRAINTS = {
    "at_least": "at least",
    "forbid": "never",
    "max_stored_bytes": "stored bytes",
    "max_train_memory_bytes": "training memory",
}
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


@dataclass(frozen=True)
class Said:
    """A sentence as rule, value, remedy.

    Attributes:
        rule: up to ``got``.
        value: what was given.
    """

    rule: str
    value: str

    @property
    def both(self) -> str:
        """Without the remedy, which names what is not in the file."""
        return f"{self.rule} {self.value}"


def line_of(
    error: BaseException, sentence: str, text: bytes, path: str, module: ModuleType
) -> int | None:
    """The line of a file that an error, raised while it ran, is about; ``None``: of no line.

    Args:
        error: as it was caught.
        sentence: what is said of it.
        text: of the file.
        path: of the file, as it was compiled.
        module: that it was run as.
    """
    found = _last_position(error.__traceback__, path)
    if found is None:
        return None
    for call in _calls(ast.parse(text)):
        if (call.lineno, call.end_lineno, call.col_offset, call.end_col_offset) == found:
            node = _about(call, _parted(sentence), _resolved(call.func, module))
            return call.lineno if node is None else node.lineno
    return found[0]


def placed(sentence: str, file: StudyFile, item: int | None = None) -> str:
    """A sentence with the line of a study's file that it is about in front, where there is one.

    Args:
        sentence: of an error found after the file had run.
        file: that defines the study.
        item: number of the space's item that it is about; ``None``: not known.
    """
    path = file.module.__file__
    if not file.by_value or path is None:
        return sentence
    with open(path, "rb") as source:
        tree = ast.parse(source.read())
    said = _parted(sentence)
    calls = [(call, _resolved(call.func, file.module)) for call in _calls(tree)]
    within = None if item is None else _item(calls, item)
    if within is not None:
        own = list(ast.walk(within))
        calls = [pair for pair in calls if pair[0] in own]
    line = (
        _line_by_relation(calls, said)
        or _line_by_field(calls, said)
        or (_line_by_name(calls, said) if within is None else _line_inside(within, said))
        or _line_of_method(calls, said)
        or (_line_of_space(calls) if within is None else within.lineno)
    )
    return sentence if line is None else f"{file.shown}, line {line}: {sentence}"


def placed_argument(sentence: str, file: StudyFile, argument: str) -> str:
    """A sentence with the line of an argument of ``Study`` in front, where it stands in the file.

    Args:
        sentence: of an error found after the file had run.
        file: that defines the study.
        argument: such as ``task``; of its lines the one that the sentence quotes something of.
    """
    path = file.module.__file__
    if not file.by_value or path is None:
        return sentence
    with open(path, "rb") as source:
        tree = ast.parse(source.read())
    studies = [
        call for call in _calls(tree) if "Study" in _names(_resolved(call.func, file.module))
    ]
    if len(studies) != 1:
        return sentence
    held = _by_name(studies[0], _resolved(studies[0].func, file.module)).get(argument)
    if held is None:
        return sentence
    held = _assigned(tree, held)
    line = (_inside(held, _parted(sentence)) or held).lineno
    return f"{file.shown}, line {line}: {sentence}"


def _assigned(tree: ast.Module, node: ast.expr) -> ast.expr:
    """What a name of the file stands for, where it is written there; else the node itself."""
    if isinstance(node, ast.Name):
        for one in reversed(tree.body):
            if isinstance(one, ast.Assign) and any(
                isinstance(target, ast.Name) and target.id == node.id for target in one.targets
            ):
                return one.value
    return node


def _parted(sentence: str) -> Said:
    rule, _, rest = sentence.partition(", got ")
    return Said(rule, rest.partition("; ")[0])


def _last_position(
    traceback: TracebackType | None, path: str
) -> tuple[int, int | None, int | None, int | None] | None:
    """Where the innermost frame of a file is, as ``(line, last line, column, last column)``."""
    found = None
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename == path:
            positions = list(code.co_positions())[traceback.tb_lasti // 2]
            found = (positions[0] or traceback.tb_lineno, *positions[1:])
        traceback = traceback.tb_next
    return found


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _resolved(function: ast.expr, module: ModuleType) -> Any:
    """What a call's name stands for in the module; ``None`` where that is not known."""
    if isinstance(function, ast.Name):
        return vars(module).get(function.id)
    if isinstance(function, ast.Attribute):
        return getattr(_resolved(function.value, module), function.attr, None)
    return None


def _about(call: ast.Call, said: Said, called: Any) -> ast.expr | None:
    """The argument of a call that a sentence is about; ``None``: the call as a whole."""
    if said.value.startswith("no '"):  # an argument that is missing stands nowhere
        return None
    keywords = _by_name(call, called)
    for owner, name in _DOTTED.findall(said.rule):
        if owner in _names(called) and name in keywords:
            return _inside(keywords[name], said) or keywords[name]
        inner = [
            word.value
            for one in _calls(call)
            for word in one.keywords
            if word.arg == name and _head(one) == owner
        ]
        if len(inner) == 1:
            return _inside(inner[0], said) or inner[0]
    quoted = [one or other for one, other in _QUOTED.findall(said.value)]
    misnamed = next((name for name in quoted[:1] if name in keywords), None)
    if misnamed is not None:
        return keywords[misnamed]
    found = _inside(call, said)
    if found is not None:
        return found
    named = [(_place(name, said.both), name) for name in keywords]
    mentioned = min(((place, name) for place, name in named if place is not None), default=None)
    if mentioned is not None:
        held = keywords[mentioned[1]]
        return held if isinstance(held, ast.Call) else _constraint(held, said) or held
    heads = [arg for arg in call.args if _place(_head(arg), said.value) is not None]
    if said.value.startswith("["):
        heads = [arg for arg in call.args if isinstance(arg, ast.List)]
    return heads[0] if len(heads) == 1 else None


def _by_name(call: ast.Call, called: Any) -> dict[str, ast.expr]:
    """The arguments of a call by the names that it has for them."""
    named = {word.arg: word.value for word in call.keywords if word.arg is not None}
    if not inspect.isclass(called) or any(isinstance(arg, ast.Starred) for arg in call.args):
        return named
    parameters = inspect.signature(called).parameters.values()
    if any(one.kind is one.VAR_POSITIONAL for one in parameters):
        return named
    return dict(zip((one.name for one in parameters), call.args, strict=False)) | named


def _constraint(node: ast.expr, said: Said) -> ast.expr | None:
    """The constraint of several that a sentence is about."""
    for call in _calls(node):
        words = _CONSTRAINTS.get(_spelled(call.func).rpartition(".")[2])
        if words is not None and words in said.both:
            return call
    return None


def _inside(node: ast.expr, said: Said) -> ast.expr | None:
    """A text or a number inside an expression that the sentence quotes."""
    constants = [one for one in ast.walk(node) if isinstance(one, ast.Constant)]
    texts = [(one, one.value) for one in constants if isinstance(one.value, str) and one.value]
    for part in (said.value, said.rule):
        quoted = {_squeezed(one or other) for one, other in _QUOTED.findall(part)}
        found = next((one for one, text in texts if _squeezed(text) in quoted), None)
        if found is not None:
            return found
    relation = _relation(node, said)
    if relation is not None:
        return relation
    numbers = [one for one in constants if isinstance(one.value, int | float)]
    alone = [one for one in numbers if repr(one.value) == said.value]
    return alone[0] if len(alone) == 1 else None


def _relation(node: ast.expr, said: Said) -> ast.expr | None:
    """The text of a relation, which a sentence quotes by how it reads."""
    rule = _squeezed(said.rule)
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str) and " " in one.value:
            if _squeezed(one.value) in rule:
                return one
    return None


def _line_by_relation(calls: list[tuple[ast.Call, Any]], said: Said) -> int | None:
    """The line of a relation between fields of the space."""
    spaces = [call for call, called in calls if "SearchSpace" in _names(called)]
    found = [one for call in spaces if (one := _relation(call, said)) is not None]
    return found[0].lineno if found else None


def _line_by_field(calls: list[tuple[ast.Call, Any]], said: Said) -> int | None:
    """The line of METHOD.FIELD."""
    for owner, name in _DOTTED.findall(said.rule):
        held = [
            word.value
            for call, called in calls
            for word in call.keywords
            if word.arg == name and owner in _names(called)
        ]
        if held:
            exact = [found for one in held if (found := _inside(one, said)) is not None]
            return (exact or held)[0].lineno
        whole = [call for call, called in calls if _spelled(call.func) == f"{owner}.{name}"]
        if len(whole) == 1:
            return whole[0].lineno
    return None


def _line_by_name(calls: list[tuple[ast.Call, Any]], said: Said) -> int | None:
    """The line of an argument of the space that is quoted, or called by its name."""
    for call, called in calls:
        if "SearchSpace" in _names(called):
            found = _inside(call, said)
            if found is not None:
                return found.lineno
    for call, called in calls:
        if {"SearchSpace", "Grouped", "PerGroup"} & _names(called):
            node = _about(call, said, called)
            if node is not None:
                return node.lineno
    return None


def _line_inside(node: ast.expr, said: Said) -> int | None:
    """The line of what a sentence quotes of an item."""
    found = _inside(node, said)
    return None if found is None else found.lineno


def _line_of_method(calls: list[tuple[ast.Call, Any]], said: Said) -> int | None:
    """The line of the only method there is, or of the one that the sentence starts with."""
    methods = [(call, _names(called)) for call, called in calls if hasattr(called, "place")]
    first = said.rule.split(" ", 1)[0]
    named = [call for call, names in methods if first in names]
    some = named or [call for call, _ in methods]
    return some[0].lineno if len(some) == 1 else None


def _item(calls: list[tuple[ast.Call, Any]], item: int) -> ast.expr | None:
    """An item of the only space of a file, as it is written there."""
    spaces = [call for call, called in calls if "SearchSpace" in _names(called)]
    if len(spaces) != 1 or any(isinstance(arg, ast.Starred) for arg in spaces[0].args):
        return None
    return spaces[0].args[item] if item < len(spaces[0].args) else None


def _line_of_space(calls: list[tuple[ast.Call, Any]]) -> int | None:
    spaces = [call.lineno for call, called in calls if "SearchSpace" in _names(called)]
    return spaces[0] if len(spaces) == 1 else None


def _names(called: Any) -> set[str]:
    """What sentences call a class by."""
    return {str(getattr(called, name, "")) for name in ("__name__", "kind")} - {""}


def _head(node: ast.expr) -> str:
    """How the repr of an argument starts."""
    if isinstance(node, ast.Call):
        return _head(node.func)
    if isinstance(node, ast.Constant):
        return repr(node.value)
    return _spelled(node).rpartition(".")[2]


def _spelled(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def _place(word: str, text: str) -> int | None:
    """Where a text has a word."""
    if not word:
        return None
    found = re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)
    return None if found is None else found.start()


def _squeezed(text: str) -> str:
    """Without spaces and quotes, which a relation may be written with or not."""
    return re.sub(r"[\s'\"]", "", text)
