"""What all tests with AWS's clients share: a control plane for each class, the inventory, and short ways to make things."""

import unittest

import botocore.exceptions

from service import INVENTORY, Service


def by_key(attributes):
    """The values of a list of keys and values."""
    return {attribute["Key"]: attribute["Value"] for attribute in attributes}


class Case(unittest.TestCase):
    """Tests on one control plane; each test deletes what it made."""

    @classmethod
    def setUpClass(cls):
        cls.service = Service()
        cls.service.rest("PUT", "/v1/inventory", INVENTORY)
        cls.elbv2 = cls.service.client("elbv2")

    @classmethod
    def tearDownClass(cls):
        cls.service.stop()

    def tearDown(self):
        for balancer in self.elbv2.describe_load_balancers()["LoadBalancers"]:
            arn = balancer["LoadBalancerArn"]
            off = [{"Key": "deletion_protection.enabled", "Value": "false"}]
            self.elbv2.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=off)
            self.elbv2.delete_load_balancer(LoadBalancerArn=arn)
        for group in self.elbv2.describe_target_groups()["TargetGroups"]:
            self.elbv2.delete_target_group(TargetGroupArn=group["TargetGroupArn"])

    def refused(self, code, call, **parameters):
        """The error's message; the call must be refused with this code and HTTP status 400."""
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            call(**parameters)
        response = caught.exception.response
        self.assertEqual(response["Error"]["Code"], code, response["Error"]["Message"])
        self.assertEqual(response["ResponseMetadata"]["HTTPStatusCode"], 400)
        return response["Error"]["Message"]

    def fails(self, text, call, **parameters):
        """The call must be refused, whatever the code, with a message that has this text."""
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            call(**parameters)
        response = caught.exception.response
        self.assertIn(text, response["Error"]["Message"])
        self.assertEqual(response["ResponseMetadata"]["HTTPStatusCode"], 400)

    def balancer(self, name="front", **parameters):
        """A new load balancer."""
        parameters = {"Subnets": ["subnet-a", "subnet-b"], "Type": "network", **parameters}
        return self.elbv2.create_load_balancer(Name=name, **parameters)["LoadBalancers"][0]

    def group(self, name="web", **parameters):
        """A new target group."""
        parameters = {"Protocol": "TCP", "Port": 80, "VpcId": "vpc-1", **parameters}
        return self.elbv2.create_target_group(Name=name, **parameters)["TargetGroups"][0]

    def listener(self, balancer, group, **parameters):
        """A new listener that forwards to a group."""
        parameters = {"Protocol": "TCP", "Port": 80, **parameters}
        action = {"Type": "forward", "TargetGroupArn": group["TargetGroupArn"]}
        made = self.elbv2.create_listener(
            LoadBalancerArn=balancer["LoadBalancerArn"], DefaultActions=[action], **parameters
        )
        return made["Listeners"][0]
