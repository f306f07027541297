"""An extension of griffe, which reads the package for the API reference: it lists each keyword once, with its type and its meaning.

- The keywords of `**settings: Unpack[InitSettings]` become parameters. griffe's own extension for that lists those twice that the
  docstring describes, and shows `Annotated` types with their texts.
- A line of a docstring that describes several arguments (`trace_id, span_id: …`) counts for each of them.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from griffe import Class, ExprSubscript, ExprTuple, Extension, Function, Object, Parameter, ParameterKind

_SEVERAL = re.compile(r"^(?P<indent> +)(?P<names>\w+(?:, \w+)+): (?P<text>.*(?:\n(?P=indent) +.*)*)$", re.MULTILINE)


def _one_a_line(docstring: str) -> str:
    def repeated(found: re.Match[str]) -> str:
        return "\n".join(f"{found['indent']}{name}: {found['text']}" for name in found["names"].split(", "))

    return _SEVERAL.sub(repeated, docstring)


def _is(annotation: Any, name: str) -> bool:
    return isinstance(annotation, ExprSubscript) and annotation.canonical_path.rpartition(".")[2] == name


def _parts(annotation: Any) -> tuple[Any, str]:
    """Return the type of an annotation, and the text of `Annotated`."""
    if _is(annotation, "Annotated") and isinstance(annotation.slice, ExprTuple):
        kind, text = annotation.slice.elements
        return kind, str(ast.literal_eval(str(text)))
    return annotation, ""


def _describe(documented: Object) -> None:
    if documented.docstring is not None:
        documented.docstring.value = _one_a_line(documented.docstring.value)


class KeywordsExtension(Extension):
    """See the module."""

    def on_class(self, *, cls: Class, **_: Any) -> None:
        """Split what the docstring says of several arguments."""
        _describe(cls)

    def on_function(self, *, func: Function, **_: Any) -> None:
        """Replace `**name: Unpack[…]` by the keywords, in the signature and in the docstring."""
        _describe(func)
        kind = ParameterKind.var_keyword
        packed = next((one for one in func.parameters if one.kind is kind and _is(one.annotation, "Unpack")), None)
        if packed is None:
            return
        keywords = {
            name: _parts(attribute.annotation)
            for name, attribute in func.modules_collection[packed.annotation.slice.canonical_path].attributes.items()
        }
        del func.parameters[packed.name]
        for name, (annotation, _text) in keywords.items():
            func.parameters.add(Parameter(name, annotation=annotation, kind=ParameterKind.keyword_only, default="None"))
        if func.docstring is not None:
            lines = re.compile(rf"^( +)\*\*{packed.name}: .*$", re.MULTILINE)
            listed = [f"{name}: {text}" for name, (_, text) in keywords.items() if text]
            func.docstring.value = lines.sub(lambda line: "\n".join(line[1] + one for one in listed), func.docstring.value)
