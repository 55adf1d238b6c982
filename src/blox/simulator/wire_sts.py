"""STS GetCallerIdentity, in the query protocol: a form in, XML out.

https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
"""

from typing import Final
from urllib.parse import parse_qs
from xml.sax.saxutils import escape

_NAMESPACE: Final = "https://sts.amazonaws.com/doc/2011-06-15/"


def action_of(body: bytes) -> str:
    """The operation that a form names, or ""."""
    return parse_qs(body.decode("utf-8", "replace")).get("Action", [""])[0]


def caller_identity(*, account: str, access_key: str, request_id: str) -> bytes:
    """The answer of GetCallerIdentity: a user named after its access key."""
    name = escape(access_key or "anonymous")
    return (
        f'<GetCallerIdentityResponse xmlns="{_NAMESPACE}"><GetCallerIdentityResult>'
        f"<Arn>arn:aws:iam::{account}:user/{name}</Arn><UserId>{name}</UserId>"
        f"<Account>{account}</Account></GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        "</GetCallerIdentityResponse>"
    ).encode()


def error_document(code: str, message: str, *, status: int, request_id: str) -> bytes:
    """An error as STS sends it."""
    kind = "Sender" if status < 500 else "Receiver"
    return (
        f'<ErrorResponse xmlns="{_NAMESPACE}"><Error><Type>{kind}</Type><Code>{escape(code)}</Code>'
        f"<Message>{escape(message)}</Message></Error><RequestId>{request_id}</RequestId>"
        "</ErrorResponse>"
    ).encode()
