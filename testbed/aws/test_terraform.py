"""The calls that Terraform's aws_lb, aws_lb_target_group, aws_lb_target_group_attachment and aws_lb_listener make, in their order: create,
refresh without a difference, update, destroy. What the provider looks at in answers and errors is looked at here."""

import re

from case import Case, by_key

# The form that the provider demands of ARNs.
ARN = re.compile(r"arn:aws(-[a-z]+)*:elasticloadbalancing:[a-z]{2}(-[a-z]+)+-\d{1,2}:\d{12}:\S+")


def by_tag(tags):
    return {tag["Key"]: tag["Value"] for tag in tags}


class Provider:
    """The resources as the provider handles them."""

    def __init__(self, case):
        self.case = case
        self.elbv2 = case.elbv2
        self.ec2 = case.service.client("ec2")

    def tags(self, arn):
        return by_tag(self.elbv2.describe_tags(ResourceArns=[arn])["TagDescriptions"][0]["Tags"])

    # aws_lb

    def create_balancer(self, name, tags, attributes, **arguments):
        message = self.case.refused("LoadBalancerNotFound", self.elbv2.describe_load_balancers, Names=[name])
        self.case.assertTrue(message)
        tags = [{"Key": key, "Value": value} for key, value in tags.items()]
        made = self.elbv2.create_load_balancer(Name=name, Tags=tags, Type="network", **arguments)["LoadBalancers"]
        arn = made[0]["LoadBalancerArn"]
        self.case.assertRegex(arn, ARN)
        self.wait_active(arn)
        self.modify_balancer_attributes(arn, attributes)
        self.wait_active(arn)
        return arn

    def wait_active(self, arn):
        """The provider waits for this state, whatever it was before."""
        found = self.elbv2.describe_load_balancers(LoadBalancerArns=[arn])["LoadBalancers"]
        self.case.assertEqual([balancer["State"]["Code"] for balancer in found], ["active"])

    def modify_balancer_attributes(self, arn, attributes):
        """Keys that are not known are left out, as the error's text says which."""
        wanted = [{"Key": key, "Value": value} for key, value in attributes.items()]
        while wanted:
            try:
                self.elbv2.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=wanted)
                return
            except self.elbv2.exceptions.ClientError as error:
                pattern = r"attribute key ('|\")?([^'\" ]+)('|\")? is not (recognized|supported)"
                unknown = re.search(pattern, str(error))
                if not unknown:
                    raise
                wanted = [attribute for attribute in wanted if attribute["Key"] != unknown[2]]

    def read_balancer(self, arn):
        balancer = self.elbv2.describe_load_balancers(LoadBalancerArns=[arn])["LoadBalancers"][0]
        attributes = by_key(self.elbv2.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"])
        if hasattr(self.elbv2, "describe_capacity_reservation"):
            capacity = self.elbv2.describe_capacity_reservation(LoadBalancerArn=arn)
            self.case.assertIsNone(capacity.get("MinimumLoadBalancerCapacity"))
        zones = balancer["AvailabilityZones"]
        return {
            "name": balancer["LoadBalancerName"],
            "internal": balancer["Scheme"] == "internal",
            "ip_address_type": balancer["IpAddressType"],
            "load_balancer_type": balancer["Type"],
            "security_groups": balancer.get("SecurityGroups", []),
            "subnets": {zone["SubnetId"] for zone in zones},
            "vpc_id": balancer["VpcId"],
            "zone_id": balancer["CanonicalHostedZoneId"],
            "attributes": attributes,
            "tags": self.tags(arn),
        }

    def destroy_balancer(self, arn):
        self.elbv2.delete_load_balancer(LoadBalancerArn=arn)
        name = arn.split(":loadbalancer/")[1]
        for owner in ("amazon-elb", "amazon-aws"):
            filters = [
                {"Name": "attachment.instance-owner-id", "Values": [owner]},
                {"Name": "description", "Values": [f"ELB {name}"]},
            ]
            self.case.assertEqual(self.ec2.describe_network_interfaces(Filters=filters)["NetworkInterfaces"], [])
        self.case.refused("LoadBalancerNotFound", self.elbv2.describe_load_balancers, LoadBalancerArns=[arn])

    # aws_lb_target_group

    def create_group(self, name, tags, attributes, **arguments):
        self.case.refused("TargetGroupNotFound", self.elbv2.describe_target_groups, Names=[name])
        tags = [{"Key": key, "Value": value} for key, value in tags.items()]
        made = self.elbv2.create_target_group(Name=name, Tags=tags, **arguments)["TargetGroups"]
        arn = made[0]["TargetGroupArn"]
        self.case.assertRegex(arn, ARN)
        self.case.assertEqual(len(self.elbv2.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"]), 1)
        attributes = [{"Key": key, "Value": value} for key, value in attributes.items()]
        self.elbv2.modify_target_group_attributes(TargetGroupArn=arn, Attributes=attributes)
        return arn

    def read_group(self, arn):
        group = self.elbv2.describe_target_groups(TargetGroupArns=[arn])["TargetGroups"][0]
        attributes = by_key(self.elbv2.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"])
        health_check = {key: value for key, value in group.items() if key.startswith("Health") or key.startswith("Unhealthy")}
        return {
            "name": group["TargetGroupName"],
            "port": group["Port"],
            "protocol": group["Protocol"],
            "target_type": group["TargetType"],
            "vpc_id": group["VpcId"],
            "ip_address_type": group["IpAddressType"],
            "health_check": health_check,
            "matcher": group.get("Matcher"),
            "attributes": attributes,
            "tags": self.tags(arn),
        }

    # aws_lb_target_group_attachment

    def attached(self, group, target):
        found = self.elbv2.describe_target_health(TargetGroupArn=group, Targets=[target])["TargetHealthDescriptions"]
        gone = ("Target.DeregistrationInProgress", "Target.NotRegistered")
        return len([it for it in found if it["TargetHealth"].get("Reason") not in gone])

    # aws_lb_listener

    def read_listener(self, arn):
        listener = self.elbv2.describe_listeners(ListenerArns=[arn])["Listeners"][0]
        if hasattr(self.elbv2, "describe_listener_attributes"):
            attributes = by_key(self.elbv2.describe_listener_attributes(ListenerArn=arn)["Attributes"])
        else:
            attributes = None
        actions = [(it["Type"], it.get("TargetGroupArn"), it.get("Order")) for it in listener["DefaultActions"]]
        return {
            "port": listener["Port"],
            "protocol": listener["Protocol"],
            "ssl_policy": listener.get("SslPolicy"),
            "default_action": actions,
            "attributes": attributes,
            "tags": self.tags(arn),
        }


class Terraform(Case):
    """req: LB-15, LB-18, TG-10, TGT-17, ATT-13, TAG-01, ERR-10"""

    def test_create_refresh_update_destroy(self):
        provider = Provider(self)
        elbv2 = self.elbv2

        # apply
        group_attributes = {"deregistration_delay.timeout_seconds": "120", "proxy_protocol_v2.enabled": "true"}
        group = provider.create_group(
            "web", {"team": "a"}, group_attributes,
            Protocol="TCP", Port=8080, VpcId="vpc-1", TargetType="instance", HealthCheckEnabled=True,
            HealthCheckIntervalSeconds=10, HealthCheckPort="traffic-port", HealthCheckProtocol="TCP",
            HealthyThresholdCount=3, UnhealthyThresholdCount=3,
        )
        balancer = provider.create_balancer(
            "front", {"team": "a"},
            {
                "access_logs.s3.enabled": "false",
                "deletion_protection.enabled": "false",
                "load_balancing.cross_zone.enabled": "false",
                "dns_record.client_routing_policy": "any_availability_zone",
                "zonal_shift.config.enabled": "false",
                "routing.http2.enabled": "true",
            },
            Subnets=["subnet-a", "subnet-b"],
        )
        target = {"Id": "i-1", "Port": 8080}
        elbv2.register_targets(TargetGroupArn=group, Targets=[target])
        self.assertEqual(provider.attached(group, target), 1)
        action = {"Type": "forward", "TargetGroupArn": group, "Order": 1}
        made = elbv2.create_listener(
            LoadBalancerArn=balancer, Port=80, Protocol="TCP", DefaultActions=[action],
            Tags=[{"Key": "team", "Value": "a"}],
        )
        listener = made["Listeners"][0]["ListenerArn"]
        self.assertRegex(listener, ARN)

        # refresh: what was asked for is what is found, twice
        first = provider.read_balancer(balancer)
        self.assertEqual(
            {key: first[key] for key in ("name", "internal", "ip_address_type", "security_groups", "subnets", "vpc_id", "tags")},
            {
                "name": "front", "internal": False, "ip_address_type": "ipv4", "security_groups": [],
                "subnets": {"subnet-a", "subnet-b"}, "vpc_id": "vpc-1", "tags": {"team": "a"},
            },
        )
        self.assertEqual(first["attributes"]["load_balancing.cross_zone.enabled"], "false")
        self.assertEqual(provider.read_balancer(balancer), first)
        shown = provider.read_group(group)
        self.assertEqual(
            (shown["port"], shown["protocol"], shown["target_type"], shown["vpc_id"], shown["tags"]),
            (8080, "TCP", "instance", "vpc-1", {"team": "a"}),
        )
        self.assertEqual(shown["health_check"]["HealthCheckIntervalSeconds"], 10)
        self.assertEqual(shown["health_check"]["HealthyThresholdCount"], 3)
        for key, value in group_attributes.items():
            self.assertEqual(shown["attributes"][key], value)
        self.assertEqual(provider.read_group(group), shown)
        found = provider.read_listener(listener)
        self.assertEqual((found["port"], found["protocol"], found["ssl_policy"]), (80, "TCP", None))
        self.assertEqual([(kind, arn) for kind, arn, _ in found["default_action"]], [("forward", group)])
        if found["attributes"] is not None:
            self.assertEqual(found["attributes"]["tcp.idle_timeout.seconds"], "350")
        self.assertEqual(provider.read_listener(listener), found)

        # update in place
        provider.modify_balancer_attributes(balancer, {"load_balancing.cross_zone.enabled": "true"})
        elbv2.add_tags(ResourceArns=[balancer], Tags=[{"Key": "team", "Value": "b"}, {"Key": "new", "Value": ""}])
        elbv2.remove_tags(ResourceArns=[balancer], TagKeys=["new"])
        changed = provider.read_balancer(balancer)
        self.assertEqual(changed["tags"], {"team": "b"})
        expected = {**first["attributes"], "load_balancing.cross_zone.enabled": "true"}
        self.assertEqual(changed["attributes"], expected)
        elbv2.modify_target_group(
            TargetGroupArn=group, HealthCheckEnabled=True, HealthCheckIntervalSeconds=30, HealthyThresholdCount=2,
            UnhealthyThresholdCount=2, HealthCheckPort="traffic-port", HealthCheckProtocol="TCP",
        )
        self.assertEqual(provider.read_group(group)["health_check"]["HealthCheckIntervalSeconds"], 30)
        other = provider.create_group("other", {}, {"deregistration_delay.timeout_seconds": "300"},
                                      Protocol="TCP", Port=8081, VpcId="vpc-1", TargetType="ip")
        elbv2.modify_listener(ListenerArn=listener, Port=81, Protocol="TCP",
                              DefaultActions=[{**action, "TargetGroupArn": other}])
        found = provider.read_listener(listener)
        self.assertEqual((found["port"], found["default_action"][0][1]), (81, other))
        self.assertEqual(found["tags"], {"team": "a"})

        # destroy: the provider tries again while a listener still forwards to the group, by the error's text
        message = self.refused("ResourceInUse", elbv2.delete_target_group, TargetGroupArn=other)
        self.assertIn("is currently in use by a listener or a rule", message)
        elbv2.delete_listener(ListenerArn=listener)
        self.refused("ListenerNotFound", elbv2.describe_listeners, ListenerArns=[listener])
        elbv2.deregister_targets(TargetGroupArn=group, Targets=[target])
        self.assertEqual(provider.attached(group, target), 0)
        provider.destroy_balancer(balancer)
        for arn in (group, other):
            elbv2.delete_target_group(TargetGroupArn=arn)
            self.refused("TargetGroupNotFound", elbv2.describe_target_groups, TargetGroupArns=[arn])

    def test_identity_and_data_sources(self):
        """What the provider and its data sources ask for besides."""
        identity = self.service.client("sts").get_caller_identity()
        self.assertRegex(identity["Account"], r"^\d{12}$")
        ec2 = self.service.client("ec2")
        filters = [{"Name": "vpc-id", "Values": ["vpc-1"]}]
        subnets = {subnet["SubnetId"] for subnet in ec2.describe_subnets(Filters=filters)["Subnets"]}
        self.assertLessEqual({"subnet-a", "subnet-b"}, subnets)
        self.assertEqual(ec2.describe_vpcs(VpcIds=["vpc-1"])["Vpcs"][0]["CidrBlock"], "10.1.0.0/16")
