"""CloudFormation stacks on moto, which lacks queue policies: they are added here."""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import boto3
from moto import mock_aws
from moto.core.common_models import CloudFormationModel
from moto.sqs.models import sqs_backends

from support.simulated import REGION

_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "secret"}


class QueuePolicy(CloudFormationModel):
    """AWS::SQS::QueuePolicy: the document becomes each queue's policy. Moto finds it by its class.
    https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/aws-resource-sqs-queuepolicy.html
    """

    def __init__(self, name: str) -> None:
        self.physical_resource_id = name

    @staticmethod
    def cloudformation_name_type() -> str:
        return ""

    @staticmethod
    def cloudformation_type() -> str:
        return "AWS::SQS::QueuePolicy"

    @classmethod
    def has_cfn_attr(cls, attr: str) -> bool:
        return attr == "Id"

    @classmethod
    def create_from_cloudformation_json(
        cls,
        resource_name: str,
        cloudformation_json: Any,
        account_id: str,
        region_name: str,
        **kwargs: Any,
    ) -> "QueuePolicy":
        properties = cloudformation_json["Properties"]
        backend = sqs_backends[account_id][region_name]
        for url in properties["Queues"]:
            document = json.dumps(properties["PolicyDocument"])
            backend.set_queue_attributes(url.rsplit("/", 1)[-1], {"Policy": document})
        return cls(resource_name)

    def is_created(self) -> bool:
        return True


class Account:
    """An AWS account on moto."""

    def client(self, service: str) -> Any:
        """A boto3 client."""
        return boto3.client(service, region_name=REGION)

    def create(self, template: str, **parameters: str) -> Mapping[str, str]:
        """Create a stack; its outputs."""
        formation = self.client("cloudformation")
        formation.create_stack(
            StackName="blox",
            TemplateBody=template,
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[
                {"ParameterKey": name, "ParameterValue": value}
                for name, value in parameters.items()
            ],
        )
        (stack,) = formation.describe_stacks(StackName="blox")["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    def policies(self, role: str) -> list[Any]:
        """The documents of a role's managed policies."""
        iam = self.client("iam")
        found = []
        for attached in iam.list_attached_role_policies(RoleName=role)["AttachedPolicies"]:
            arn = attached["PolicyArn"]
            version = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
            answer = iam.get_policy_version(PolicyArn=arn, VersionId=version)
            found.append(answer["PolicyVersion"]["Document"])
        return found


@contextmanager
def account() -> Iterator[Account]:
    """An empty account while the block runs."""
    with patch.dict(os.environ, _CREDENTIALS), mock_aws():
        yield Account()
