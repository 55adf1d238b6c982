"""What an ECS error tells us, by its code and never by its HTTP status.

    BloxError
    └── EcsError            ECS answered a read with an error, or did not answer it
        ├── EcsRefused      it answered: code, message, HTTP status, request id
        └── EcsSilent       no answer that can be understood; a read may simply be asked again

Calls that act never raise: their outcome is a value (`blox.ecs.port.StartOutcome`), because for
them "failed" and "may have happened" must not be confused.

Codes: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/CommonErrors.html and each
operation's page. ECS refuses an old signature with HTTP 400 InvalidSignatureException
(https://github.com/fabfuel/ecs-deploy/issues/126).
"""

from enum import StrEnum
from typing import Final

from blox.base.errors import BloxError


class Meaning(StrEnum):
    """What a refused or failed call that acts has done, and whose condition it is."""

    DID_NOT_HAPPEN = "did not happen"
    """Turned away before any work: throttled, badly signed, expired credentials."""
    ENVIRONMENT = "refused for the environment"
    """Every host would be refused alike: access denied, inactive definition."""
    CLUSTER = "refused for the cluster"
    BISECT = "refused for some host"
    """Something in this call is wrong, perhaps one host: ask again for fewer at a time."""
    IN_DOUBT = "in doubt"
    """It may have happened."""


THROTTLE_CODES: Final = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "RequestThrottled",
        "RequestThrottledException",
        "TooManyRequestsException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "SlowDown",
        "PriorRequestNotComplete",
        "EC2ThrottledException",
    }
)
SIGNATURE_CODES: Final = frozenset(
    {
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "RequestExpired",
        "RequestTimeTooSkewed",
        "IncompleteSignature",
        "IncompleteSignatureException",
    }
)
CREDENTIAL_CODES: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "OptInRequired",
    }
)
DENIED_CODES: Final = frozenset({"AccessDenied", "AccessDeniedException"})
_INACTIVE_TEXTS: Final = ("inactive", "unable to describe task definition")


def meaning_of(code: str, status: int, message: str, *, request_id: str) -> Meaning:
    """What an error answer to a call that acts means. `request_id` is "" when ECS sent none."""
    if code in THROTTLE_CODES or code in SIGNATURE_CODES or code in CREDENTIAL_CODES:
        return Meaning.DID_NOT_HAPPEN
    if status == 408 or status >= 500 or not request_id:
        return Meaning.IN_DOUBT
    if code in DENIED_CODES or code in (
        "UnsupportedFeatureException",
        "NamespaceNotFoundException",
    ):
        return Meaning.ENVIRONMENT
    if code == "ClusterNotFoundException":
        return Meaning.CLUSTER
    if code == "ClientException" and any(text in message.lower() for text in _INACTIVE_TEXTS):
        return Meaning.ENVIRONMENT
    return Meaning.BISECT


class EcsError(BloxError):
    """A read that ECS did not serve."""


class EcsRefused(EcsError):
    """ECS answered with an error."""

    def __init__(
        self, operation: str, code: str, message: str, status: int, request_id: str
    ) -> None:
        super().__init__(
            f"{operation} was refused: {code}: {message} (request {request_id or '-'})"
        )
        self.operation = operation
        self.code = code
        self.reason = message
        self.status = status
        self.request_id = request_id

    @property
    def throttled(self) -> bool:
        return self.code in THROTTLE_CODES

    @property
    def denied(self) -> bool:
        return self.code in DENIED_CODES

    @property
    def signature_refused(self) -> bool:
        return self.code in SIGNATURE_CODES


class EcsSilent(EcsError):
    """No answer: the connection failed, timed out, or carried nothing that can be understood."""

    def __init__(self, operation: str, cause: str) -> None:
        super().__init__(f"{operation} got no answer: {cause}")
        self.operation = operation
        self.cause = cause
