"""STS GetCallerIdentity, in the query protocol: a form in, XML out.

https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html
"""

from typing import Final
from xml.sax.saxutils import escape

NAMESPACE: Final = "https://sts.amazonaws.com/doc/2011-06-15/"


def caller_identity(*, account: str, access_key: str, role: str, request_id: str) -> bytes:
    """The answer of GetCallerIdentity: a session of `role`, or without one a user, named after the
    access key."""
    name = escape(access_key or "anonymous")
    arn, key = f"arn:aws:iam::{account}:user/{name}", name
    if role:
        arn = f"arn:aws:sts::{account}:assumed-role/{escape(role)}/{name}"
        key = f"AROASIMULATED:{name}"
    return (
        f'<GetCallerIdentityResponse xmlns="{NAMESPACE}"><GetCallerIdentityResult>'
        f"<Arn>{arn}</Arn><UserId>{key}</UserId>"
        f"<Account>{account}</Account></GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
        "</GetCallerIdentityResponse>"
    ).encode()


def error_document(
    code: str, message: str, *, status: int, request_id: str, namespace: str
) -> bytes:
    """An error as a service with a query protocol sends it, STS or IAM."""
    kind = "Sender" if status < 500 else "Receiver"
    return (
        f'<ErrorResponse xmlns="{namespace}"><Error><Type>{kind}</Type><Code>{escape(code)}</Code>'
        f"<Message>{escape(message)}</Message></Error><RequestId>{request_id}</RequestId>"
        "</ErrorResponse>"
    ).encode()
