"""The OpenAPI 3.1 document of an API, from its operations. Pure: values in, values out.

https://spec.openapis.org/oas/v3.1.1
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from http import HTTPStatus
from typing import Final

import msgspec

from blox.http.operations import Operation, Parameter, Returned
from blox.http.problems import PROBLEM_JSON, Problem

_PATH_PARAMETER: Final = re.compile(r"\{(\w+)(?::path)?\}")
_WITH_SLASHES: Final = "It may have slashes, as they are or percent-encoded."


def document(
    operations: Sequence[Operation], *, title: str, version: str, description: str
) -> bytes:
    """The document as JSON."""
    types = _types_of(operations)
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    shapes = _Shapes(types, schemas)
    paths: dict[str, dict[str, object]] = {}
    for operation in operations:
        shown = _describe(operation, shapes)
        path = _PATH_PARAMETER.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = shown
    return msgspec.json.encode(
        {
            "openapi": "3.1.1",
            "info": {
                "title": title,
                "version": version,
                "description": description,
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "paths": paths,
            "components": {"schemas": components},
        }
    )


class _Shapes:
    """The JSON schema of each type that the document mentions."""

    def __init__(self, types: Sequence[object], schemas: Sequence[dict[str, object]]) -> None:
        self._known = list(zip(types, schemas, strict=True))

    def of(self, kind: object) -> dict[str, object]:
        for known, schema in self._known:
            if known is kind:
                return schema
        raise KeyError(kind)


def _types_of(operations: Sequence[Operation]) -> list[object]:
    types: list[object] = [Problem]
    for operation in operations:
        bodies = [operation.body, *(answer.body for answer in operation.answers.values())]
        for kind in bodies:
            if kind is not None and not any(kind is known for known in types):
                types.append(kind)
    return types


def _describe(operation: Operation, shapes: _Shapes) -> dict[str, object]:
    shown: dict[str, object] = {"operationId": operation.id, "summary": operation.summary}
    if operation.description:
        shown["description"] = operation.description
    if operation.tags:
        shown["tags"] = list(operation.tags)
    parameters = [_parameter(p, "path") for p in _path_parameters(operation)]
    parameters += [_parameter(p, "query") for p in operation.query]
    parameters += [_parameter(p, "header") for p in operation.headers]
    if parameters:
        shown["parameters"] = parameters
    if operation.body is not None:
        shown["requestBody"] = {
            "required": True,
            "content": {operation.body_type: {"schema": shapes.of(operation.body)}},
        }
    shown["responses"] = _responses(operation, shapes)
    return shown


def _path_parameters(operation: Operation) -> list[Parameter]:
    """The path's parameters in its order; those that nobody described get their name."""
    described = {parameter.name: parameter for parameter in operation.path_parameters}
    parameters = []
    for found in _PATH_PARAMETER.finditer(operation.path):
        parameter = described.get(found[1], Parameter(name=found[1], description=""))
        if found[0].endswith(":path}"):
            text = f"{parameter.description} {_WITH_SLASHES}".lstrip()
            parameter = replace(parameter, description=text)
        parameters.append(parameter)
    return parameters


def _parameter(parameter: Parameter, place: str) -> dict[str, object]:
    schema: dict[str, object] = {"type": parameter.kind}
    if parameter.choices:
        schema["enum"] = list(parameter.choices)
    shown: dict[str, object] = {
        "name": parameter.name,
        "in": place,
        "required": parameter.required or place == "path",
        "schema": schema,
    }
    if parameter.description:
        shown["description"] = parameter.description
    return shown


def _responses(operation: Operation, shapes: _Shapes) -> dict[str, object]:
    answers: Mapping[int, Returned] = operation.answers or {200: Returned(description="OK")}
    responses: dict[str, object] = {
        str(status): _response(answer, shapes) for status, answer in sorted(answers.items())
    }
    text = operation.path.startswith("/v1/")
    for status in operation.errors:
        responses[str(status)] = {
            "description": HTTPStatus(status).phrase,
            "content": {"text/plain": {"schema": {"type": "string"}}}
            if text
            else {PROBLEM_JSON: {"schema": shapes.of(Problem)}},
        }
    return responses


def _response(answer: Returned, shapes: _Shapes) -> dict[str, object]:
    shown: dict[str, object] = {"description": answer.description}
    if answer.body is not None:
        schema = shapes.of(answer.body)
        shown["content"] = {kind: {"schema": schema} for kind in (answer.media_type, *answer.also)}
    return shown
