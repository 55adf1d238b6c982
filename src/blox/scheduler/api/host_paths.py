"""A host in a path, as people name it: by its instance id (i-… or mi-…), its container instance id,
or its ARN. An ARN has slashes, so the paths that take one are declared beside the plain ones."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from blox.http.operations import Operation, Parameter

_HOST: Final = (
    Parameter(
        name="host", description="Its instance id (i-… or mi-…) or its container instance id."
    ),
)
_LONG_ARN: Final = (
    Parameter(name="arn", description="A container instance's ARN up to its first slash."),
    Parameter(name="arnCluster", description="The cluster's name in the ARN."),
    Parameter(name="arnId", description="The container instance's id."),
)
_OLD_ARN: Final = (_LONG_ARN[0], _LONG_ARN[2])
_FORMS: Final = (
    ("/{host}", _HOST, ""),
    ("/{arn}/{arnCluster}/{arnId}", _LONG_ARN, "ByArn"),
    ("/{arn}/{arnId}", _OLD_ARN, "ByOldArn"),
)


def in_every_form(operation: Operation) -> list[Operation]:
    """The operation on `operation.path` + the host, under every form in which one can be named."""
    return [
        replace(
            operation,
            path=operation.path + form,
            id=operation.id + suffix,
            path_parameters=(*operation.path_parameters, *parameters),
        )
        for form, parameters, suffix in _FORMS
    ]


def reference_of(params: Mapping[str, str]) -> str:
    """What names the host, whichever of the paths was asked."""
    if "host" in params:
        return params["host"]
    parts: Sequence[str | None] = (params["arn"], params.get("arnCluster"), params["arnId"])
    return "/".join(part for part in parts if part is not None)
