"""Elastic Load Balancing 2015-12-01 as its clients see it: listeners, target groups, targets, tags, limits."""

import concurrent.futures
import random

from case import Case, by_key


class Listeners(Case):
    def test_one_action_one_group(self):
        """req: LSN-01, LSN-03, LSN-04, LSN-13, LB-22, QTA-05, ERR-05"""
        balancer, group, other = self.balancer(), self.group(), self.group("other")
        action = {"Type": "forward", "TargetGroupArn": group["TargetGroupArn"]}

        def create(port=80, actions=(action,)):
            arn = balancer["LoadBalancerArn"]
            self.elbv2.create_listener(LoadBalancerArn=arn, Protocol="TCP", Port=port, DefaultActions=list(actions))

        for port in (0, 65536):
            self.fails("", create, port=port)
        two = [{"TargetGroupArn": it["TargetGroupArn"]} for it in (group, other)]
        both = {"Type": "forward", "ForwardConfig": {"TargetGroups": two}}
        for actions in ([action, action], [{"Type": "fixed-response"}], [{"Type": "forward"}], [], [both]):
            self.fails("", create, actions=actions)
        made = self.listener(balancer, group)
        self.assertEqual(self.listener(balancer, group)["ListenerArn"], made["ListenerArn"])
        self.refused("DuplicateListener", self.listener, balancer=balancer, group=other)
        second = self.balancer("second")
        self.refused("TargetGroupAssociationLimit", self.listener, balancer=second, group=group)

    def test_incompatible_protocols(self):
        """req: LSN-05, ERR-02"""
        balancer, udp = self.balancer(), self.group("dns", Protocol="UDP", Port=53)
        self.refused("IncompatibleProtocols", self.listener, balancer=balancer, group=udp, Port=53)

    def test_tls_needs_a_certificate(self):
        """req: LSN-10"""
        balancer, group = self.balancer(), self.group()
        tls = {"balancer": balancer, "group": group, "Protocol": "TLS", "Port": 443}
        self.fails("ertificate", self.listener, **tls)
        none = "arn:aws:acm:on-prem-1:123456789012:certificate/00000000-0000-0000-0000-000000000000"
        self.refused("CertificateNotFound", self.listener, Certificates=[{"CertificateArn": none}], **tls)

    def test_a_network_listener_has_one_rule(self):
        """req: LSN-04"""
        listener = self.listener(self.balancer(), self.group())
        arn = listener["ListenerArn"]
        rules = self.elbv2.describe_rules(ListenerArn=arn)["Rules"]
        self.assertEqual([(rule["Priority"], rule["IsDefault"]) for rule in rules], [("default", True)])
        conditions = [{"Field": "path-pattern", "Values": ["/"]}]
        rule = {"ListenerArn": arn, "Priority": 1, "Actions": listener["DefaultActions"], "Conditions": conditions}
        self.fails("", self.elbv2.create_rule, **rule)


class Groups(Case):
    def test_defaults(self):
        """req: TG-03, TG-12, TG-18, ATT-01, ATT-04, ATT-10"""
        group = self.group()
        self.assertEqual((group["TargetType"], group["IpAddressType"], group["VpcId"]), ("instance", "ipv4", "vpc-1"))
        self.assertEqual((group["HealthCheckProtocol"], group["HealthCheckPort"]), ("TCP", "traffic-port"))
        found = self.elbv2.describe_target_group_attributes(TargetGroupArn=group["TargetGroupArn"])["Attributes"]
        expected = {
            "deregistration_delay.timeout_seconds": "300",
            "deregistration_delay.connection_termination.enabled": "false",
            "load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
            "preserve_client_ip.enabled": "true",
            "proxy_protocol_v2.enabled": "false",
            "stickiness.enabled": "false",
            "stickiness.type": "source_ip",
            "target_group_health.dns_failover.minimum_healthy_targets.count": "off",
            "target_group_health.dns_failover.minimum_healthy_targets.percentage": "off",
            "target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "1",
            "target_group_health.unhealthy_state_routing.minimum_healthy_targets.percentage": "off",
        }
        self.assertLessEqual(expected.items(), by_key(found).items())

    def test_what_is_refused(self):
        """req: TG-01, TG-02, TG-04"""
        self.refused("ValidationError", self.group, name="a_b")
        self.refused("ValidationError", self.group, Port=0)
        self.fails("", self.elbv2.create_target_group, Name="a", TargetType="lambda")
        self.group()
        self.refused("DuplicateTargetGroupName", self.group, Port=81)

    def test_targets(self):
        """req: TGT-01, TGT-02, TGT-03, TGT-04, TGT-07, TGT-14, TGT-17, TG-05, GEN-06, ERR-04"""
        group = self.group()["TargetGroupArn"]
        register = self.elbv2.register_targets
        health = self.elbv2.describe_target_health
        for target in ("i-stopped", "i-none", "i-other", "i-old", "10.1.1.9"):
            with self.subTest(target):
                self.refused("InvalidTarget", register, TargetGroupArn=group, Targets=[{"Id": "i-1"}, {"Id": target}])
        self.assertEqual(health(TargetGroupArn=group)["TargetHealthDescriptions"], [])
        for _ in range(2):
            register(TargetGroupArn=group, Targets=[{"Id": "i-1"}, {"Id": "i-1", "Port": 81}])
        found = health(TargetGroupArn=group)["TargetHealthDescriptions"]
        self.assertEqual(sorted((it["Target"]["Id"], it["Target"]["Port"]) for it in found), [("i-1", 80), ("i-1", 81)])
        other = health(TargetGroupArn=group, Targets=[{"Id": "i-2"}])["TargetHealthDescriptions"][0]["TargetHealth"]
        self.assertEqual((other["State"], other["Reason"]), ("unused", "Target.NotRegistered"))
        self.elbv2.deregister_targets(TargetGroupArn=group, Targets=[{"Id": "i-2"}])
        ip = self.group("ip", TargetType="ip")["TargetGroupArn"]
        for target in ("8.8.8.8", "172.32.0.1", "i-1"):
            self.refused("InvalidTarget", register, TargetGroupArn=ip, Targets=[{"Id": target}])
        far = {"Id": "192.168.7.7"}
        self.fails("you must specify an Availability Zone", register, TargetGroupArn=ip, Targets=[far])
        register(TargetGroupArn=ip, Targets=[{**far, "AvailabilityZone": "all"}])

    def test_many_targets_at_once(self):
        """req: TGT-15, QTA-09"""
        for number in range(3):
            arn = self.group(f"many-{number}", TargetType="ip")["TargetGroupArn"]
            ids = [f"192.168.{number * 4 + index // 250}.{1 + index % 250}" for index in range(1000)]
            targets = [{"Id": it, "AvailabilityZone": "all"} for it in ids]
            self.elbv2.register_targets(TargetGroupArn=arn, Targets=targets)
            found = self.elbv2.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
            self.assertEqual(len(found), 1000)
        one_more = [{"Id": "192.168.99.99", "AvailabilityZone": "all"}]
        self.refused("TooManyTargets", self.elbv2.register_targets, TargetGroupArn=arn, Targets=one_more)

    def test_many_clients_at_once(self):
        """Each change counts once, whoever makes it when. req: ERR-11"""
        group = self.group(TargetType="ip")["TargetGroupArn"]
        ids = [f"192.168.{number // 100}.{1 + number % 100}" for number in range(400)]
        random.Random(7).shuffle(ids)

        def register(address):
            targets = [{"Id": address, "AvailabilityZone": "all"}]
            self.elbv2.register_targets(TargetGroupArn=group, Targets=targets)

        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(register, ids))
        found = self.elbv2.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
        self.assertEqual(sorted(it["Target"]["Id"] for it in found), sorted(ids))


class Tags(Case):
    def test_tags(self):
        """req: TAG-01, TAG-02, TAG-03, TAG-04, TAG-05, TAG-06, TAG-07, TAG-08"""
        balancer, group = self.balancer(), self.group()
        listener = self.listener(balancer, group)
        arns = [balancer["LoadBalancerArn"], group["TargetGroupArn"], listener["ListenerArn"]]

        def add(*pairs, arns=arns):
            self.elbv2.add_tags(ResourceArns=arns, Tags=[{"Key": key, "Value": value} for key, value in pairs])

        def tags():
            found = self.elbv2.describe_tags(ResourceArns=arns)["TagDescriptions"]
            return [{tag["Key"]: tag["Value"] for tag in it["Tags"]} for it in found]

        add(("k", "1"), ("K", "é"))
        add(("k", "2"))
        self.assertEqual(tags(), [{"k": "2", "K": "é"}] * 3)
        for key in ("aws:x", " x", "x ", "x" * 129, "a,b"):
            with self.assertRaises(self.elbv2.exceptions.ClientError, msg=key):
                add((key, ""))
        with self.assertRaises(self.elbv2.exceptions.DuplicateTagKeysException):
            add(("d", "1"), ("d", "2"))
        with self.assertRaises(self.elbv2.exceptions.TooManyTagsException):
            add(*[(f"n{number}", "") for number in range(49)])
        self.assertEqual(tags(), [{"k": "2", "K": "é"}] * 3)
        self.elbv2.remove_tags(ResourceArns=arns, TagKeys=["k", "absent"])
        self.assertEqual(tags(), [{"K": "é"}] * 3)


class Limits(Case):
    def test_limits_are_listed(self):
        """req: QTA-12"""
        limits = {it["Name"]: it["Max"] for it in self.elbv2.describe_account_limits()["Limits"]}
        expected = {
            "network-load-balancers": "50",
            "listeners-per-network-load-balancer": "50",
            "targets-per-network-load-balancer": "3000",
            "target-groups": "3000",
        }
        self.assertLessEqual(expected.items(), limits.items())

    def test_policies_are_listed(self):
        policies = self.elbv2.describe_ssl_policies(Names=["ELBSecurityPolicy-TLS13-1-2-2021-06"])["SslPolicies"]
        self.assertEqual(sorted(policies[0]["SslProtocols"]), ["TLSv1.2", "TLSv1.3"])
        self.assertEqual(policies[0]["Ciphers"][0]["Name"], "TLS_AES_128_GCM_SHA256")
