"""Our signatures are botocore's, byte for byte."""

import datetime
from unittest.mock import patch

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import example, given
from hypothesis import strategies as st

from blox.ecs.signature import Credentials, amz_date, sign

TEXT = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=40)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,20}", fullmatch=True).filter(
    lambda name: name.lower() not in ("host", "date", "authorization", "x-amz-content-sha256")
)
MIDNIGHT = 1_761_955_200.0
DATES = st.floats(0, 4_000_000_000) | st.floats(-2, 2).map(lambda off: MIDNIGHT + off)


def by_botocore(
    headers: dict[str, str], host: str, path: str, body: bytes, date: float,
    credentials: Credentials, region: str, service: str,
) -> dict[str, str]:  # fmt: skip
    request = AWSRequest("POST", f"https://{host}{path}", headers=dict(headers), data=body)
    boto = BotoCredentials(credentials.access_key, credentials.secret, credentials.token)
    moment = datetime.datetime.fromtimestamp(int(date), datetime.UTC)
    with patch("botocore.auth.get_current_datetime", return_value=moment):
        SigV4Auth(boto, service, region).add_auth(request)
    names = ("X-Amz-Date", "X-Amz-Security-Token", "Authorization")
    return {name: request.headers[name] for name in names if name in request.headers}


@given(
    headers=st.dictionaries(NAMES, TEXT, max_size=4),
    host=st.sampled_from(
        ["ecs.us-east-1.amazonaws.com", "127.0.0.1:4566", "[::1]:4566", "sqs.eu-west-1.api.aws"]
    ),
    path=st.sampled_from(["/", "/aws/", "/a%20b/", "/a~b/", "/x/y/"]),
    body=st.binary(max_size=64),
    date=DATES,
    credentials=st.builds(Credentials, TEXT, TEXT, st.none() | TEXT),
    region=st.sampled_from(["us-east-1", "cn-north-1", "us-gov-west-1"]),
    service=st.sampled_from(["ecs", "sqs", "sts"]),
)
@example(
    headers={"Content-Type": "application/x-amz-json-1.1", "User-Agent": "x", "X-Amz-Date": "old"},
    host="ecs.us-east-1.amazonaws.com",
    path="/",
    body=b'{"cluster": "default"}',
    date=MIDNIGHT - 0.001,
    credentials=Credentials("AKIAEXAMPLE", "secret/+=", "token=="),
    region="us-east-1",
    service="ecs",
)
def test_signatures_equal_botocores(
    headers: dict[str, str], host: str, path: str, body: bytes, date: float,
    credentials: Credentials, region: str, service: str,
) -> None:  # fmt: skip
    lower = [name.lower() for name in headers]
    if len(set(lower)) < len(lower):
        headers = {}
    ours = sign(
        headers,
        host=host,
        path=path,
        payload=body,
        date=date,
        credentials=credentials,
        region=region,
        service=service,
    )
    assert ours == by_botocore(headers, host, path, body, date, credentials, region, service)


def test_a_date_is_cut_never_rounded_up() -> None:
    assert amz_date(MIDNIGHT - 0.000001) == "20251031T235959Z"
    assert amz_date(MIDNIGHT) == "20251101T000000Z"


def test_the_days_key_changes_at_midnight() -> None:
    credentials = Credentials("AKIAEXAMPLE", "secret")

    def scope(date: float) -> str:
        return sign(
            {}, host="h", payload=b"", date=date, credentials=credentials, region="r", service="ecs"
        )["Authorization"]

    assert "/20251031/" in scope(MIDNIGHT - 1)
    assert "/20251101/" in scope(MIDNIGHT)


def test_secrets_stay_out_of_logs() -> None:
    assert "hush" not in repr(Credentials("AKIAEXAMPLE", "hush", "hush too"))
