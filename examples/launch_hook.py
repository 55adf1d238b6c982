"""AWS Lambda: let an instance into its Auto Scaling group when blox says that its host is ready.

The target of an EventBridge rule on `"source": ["blox"], "detail-type": ["Blox Host Ready"]`.

    HOOK       the name of the group's launch lifecycle hook
    REQUIRED   environments that must be among those that are ready, with spaces between (optional)

Its role needs autoscaling:DescribeAutoScalingInstances and autoscaling:CompleteLifecycleAction.
"""

import os

import boto3


class NotWaitingYet(Exception):
    """The host is ready before the group waits for it. Lambda runs us again after a minute."""


def handler(event, _context, autoscaling=None):
    autoscaling = autoscaling or boto3.client("autoscaling")
    notice = event["detail"]
    ready = {one["name"] for one in notice["environments"] if one["ready"]}
    missing = set(os.environ.get("REQUIRED", "").split()) - ready
    if missing:
        return f"still without: {', '.join(sorted(missing))}"
    instance = notice["host"]["instanceId"]
    found = autoscaling.describe_auto_scaling_instances(InstanceIds=[instance])
    if not found["AutoScalingInstances"]:
        return "of no group"
    member = found["AutoScalingInstances"][0]
    state = member["LifecycleState"]
    if state == "Pending":
        raise NotWaitingYet(instance)
    if state != "Pending:Wait":
        return f"nothing to do: {state}"
    autoscaling.complete_lifecycle_action(
        AutoScalingGroupName=member["AutoScalingGroupName"],
        LifecycleHookName=os.environ["HOOK"],
        InstanceId=instance,
        LifecycleActionResult="CONTINUE",
    )
    return "let in"
