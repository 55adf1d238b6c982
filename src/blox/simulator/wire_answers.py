"""Answers and errors in the form of each service's protocol.

ECS, EventBridge, Kinesis: JSON 1.1. SQS: JSON 1.0, and the older error code in
`x-amzn-query-error`. STS, IAM: XML.
"""

import uuid
from collections.abc import Mapping
from typing import Final

import msgspec

from blox.simulator import wire_iam, wire_sts
from blox.simulator.model import Fault, Json
from blox.simulator.sqs_shapes import QueueFault
from blox.simulator.wire_signature import BadSignature

_QUERY_CODES: Final[Mapping[str, str]] = {
    "MissingAuthenticationTokenException": "MissingAuthenticationToken",
    "IncompleteSignatureException": "IncompleteSignature",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "UnrecognizedClientException": "InvalidClientTokenId",
    "AccessDeniedException": "AccessDenied",
}
_CONTENT_TYPES: Final[Mapping[str, str]] = {
    "ecs": "application/x-amz-json-1.1",
    "sqs": "application/x-amz-json-1.0",
    "sts": "text/xml",
    "iam": "text/xml",
    "events": "application/x-amz-json-1.1",
    "kinesis": "application/x-amz-json-1.1",
}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What goes back to the caller."""

    status: int
    body: bytes
    request_id: str
    query_error: str = ""
    """The value of `x-amzn-query-error`; "" for none."""


def content_type(service: str) -> str:
    """The content type of a service's answers."""
    return _CONTENT_TYPES[service]


def json_object(body: bytes) -> Json:
    """The parameters of a JSON request. Raises QueueFault SerializationException."""
    try:
        return msgspec.json.decode(body or b"{}", type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise QueueFault(
            "SerializationException", f"The request is no JSON object: {error}"
        ) from None


def refusal(service: str, error: BadSignature | QueueFault | Fault) -> Answer:
    """The error answer for what was refused before, or by, a service."""
    return error_answer(service, error.code, error.message, error.status)


def error_answer(
    service: str, code: str, message: str, status: int, *, request_id: str = ""
) -> Answer:
    """An error in the service's own form. `request_id` "": a new one."""
    key = request_id or str(uuid.uuid4())
    if service in ("sts", "iam"):
        name = _QUERY_CODES.get(code, code)
        status = 403 if code in _QUERY_CODES else status
        space = wire_iam.NAMESPACE if service == "iam" else wire_sts.NAMESPACE
        document = wire_sts.error_document(
            name, message, status=status, request_id=key, namespace=space
        )
        return Answer(status=status, body=document, request_id=key)
    if service == "sqs":
        sender = "Sender" if status < 500 else "Receiver"
        document = msgspec.json.encode({"__type": f"com.amazonaws.sqs#{code}", "message": message})
        query_error = f"{QueueFault(code, message).query_code};{sender}"
        return Answer(status=status, body=document, request_id=key, query_error=query_error)
    document = msgspec.json.encode({"__type": code, "message": message})
    return Answer(status=status, body=document, request_id=key)
