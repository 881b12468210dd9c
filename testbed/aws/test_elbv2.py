"""Elastic Load Balancing 2015-12-01 as its clients see it: load balancers, zones and addresses."""

from botocore.exceptions import WaiterError

from case import Case, by_key

FAST = {"Delay": 0, "MaxAttempts": 3}


class LoadBalancers(Case):
    def create(self, **parameters):
        """A new load balancer with just these parameters."""
        made = self.elbv2.create_load_balancer(**{"Type": "network", "Name": "x", **parameters})
        return made["LoadBalancers"][0]

    def test_what_is_created_is_described(self):
        """req: LB-05, LB-06, LB-20, ZN-01, GEN-01"""
        made = self.balancer(Tags=[{"Key": "team", "Value": "a"}])
        found = self.elbv2.describe_load_balancers(Names=["front"])["LoadBalancers"][0]
        self.assertEqual({**found, "State": None}, {**made, "State": None})
        self.assertEqual((made["Scheme"], made["Type"], made["IpAddressType"]), ("internet-facing", "network", "ipv4"))
        self.assertEqual(made["VpcId"], "vpc-1")
        zones = {zone["ZoneName"]: zone["SubnetId"] for zone in made["AvailabilityZones"]}
        self.assertEqual(zones, {"zone-a": "subnet-a", "zone-b": "subnet-b"})
        self.assertIn(made["State"]["Code"], ("provisioning", "active"))
        self.assertTrue(made["DNSName"].startswith("front-"))

    def test_names(self):
        """req: LB-04, ERR-10"""
        for name in ("a" * 33, "-a", "a-", "a_b", "internal-a", "ü"):
            with self.subTest(name):
                self.refused("ValidationError", self.create, Name=name, Subnets=["subnet-a"])
        self.balancer("a" * 32, Subnets=["subnet-a"])

    def test_creating_again_and_deleting_again(self):
        """req: LB-18, ERR-10"""
        first = self.balancer()
        self.assertEqual(self.balancer()["LoadBalancerArn"], first["LoadBalancerArn"])
        self.refused("DuplicateLoadBalancerName", self.balancer, Subnets=["subnet-a"])
        for _ in range(2):
            self.elbv2.delete_load_balancer(LoadBalancerArn=first["LoadBalancerArn"])

    def test_subnets_and_zones(self):
        """req: LB-19, LB-21, ZN-04, ZN-09, ZN-10, ERR-01"""
        self.fails("zone-a", self.create, Subnets=["subnet-a", "subnet-v4"])
        self.refused("SubnetNotFound", self.create, Subnets=["subnet-none"])
        self.refused("InvalidSubnet", self.create, Subnets=["subnet-2"])
        self.refused("AvailabilityZoneNotSupported", self.create, Subnets=["subnet-d"])
        text = "Load balancers with type 'network' are not supported in zone-c"
        self.fails(text, self.create, Subnets=["subnet-c"])
        both = {"Subnets": ["subnet-a"], "SubnetMappings": [{"SubnetId": "subnet-a"}]}
        self.fails("", self.create, **both)
        self.fails("", self.create)
        self.assertEqual(self.elbv2.describe_load_balancers()["LoadBalancers"], [])

    def test_addresses(self):
        """req: ZN-05, ZN-06, ERR-12"""
        mapping = {"SubnetId": "subnet-a", "PrivateIPv4Address": "10.1.1.50"}
        made = self.create(Name="in", Scheme="internal", SubnetMappings=[mapping])
        address = made["AvailabilityZones"][0]["LoadBalancerAddresses"][0]
        self.assertEqual(address["PrivateIPv4Address"], "10.1.1.50")
        outside = {"SubnetId": "subnet-a", "PrivateIPv4Address": "10.1.2.50"}
        self.fails("10.1.2.50", self.create, Scheme="internal", SubnetMappings=[outside])
        static = {"SubnetId": "subnet-b", "AllocationId": "eipalloc-1"}
        made = self.create(Name="out", SubnetMappings=[static])
        address = made["AvailabilityZones"][0]["LoadBalancerAddresses"][0]
        self.assertEqual((address["IpAddress"], address["AllocationId"]), ("192.0.2.10", "eipalloc-1"))
        unknown = {"SubnetId": "subnet-b", "AllocationId": "eipalloc-9"}
        self.refused("AllocationIdNotFound", self.create, SubnetMappings=[unknown])

    def test_zones_are_added_and_never_taken_away(self):
        """req: ZN-02, ZN-03"""
        arn = self.balancer(Subnets=["subnet-a"])["LoadBalancerArn"]
        zones = self.elbv2.set_subnets(LoadBalancerArn=arn, Subnets=["subnet-a", "subnet-b"])["AvailabilityZones"]
        self.assertEqual({zone["ZoneName"] for zone in zones}, {"zone-a", "zone-b"})
        self.fails("zone-a", self.elbv2.set_subnets, LoadBalancerArn=arn, Subnets=["subnet-b"])

    def test_address_types(self):
        """req: IPT-02, IPT-03, IPT-04, IPT-05, IPT-12, ERR-03"""
        balancer = self.balancer()
        arn = balancer["LoadBalancerArn"]
        set_type = self.elbv2.set_ip_address_type
        for kind in ("dualstack", "ipv4", "dualstack"):
            self.assertEqual(set_type(LoadBalancerArn=arn, IpAddressType=kind)["IpAddressType"], kind)
        udp = self.group("dns", Protocol="UDP", Port=53)
        self.fails("", self.listener, balancer=balancer, group=udp, Protocol="UDP", Port=53)
        set_type(LoadBalancerArn=arn, IpAddressType="ipv4")
        self.listener(balancer, udp, Protocol="UDP", Port=53)
        self.refused("InvalidConfigurationRequest", set_type, LoadBalancerArn=arn, IpAddressType="dualstack")
        ipv6 = self.group("six", TargetType="ip", IpAddressType="ipv6")
        self.fails("", self.listener, balancer=balancer, group=ipv6)
        old = self.balancer("old", Subnets=["subnet-v4"])["LoadBalancerArn"]
        self.refused("InvalidSubnet", set_type, LoadBalancerArn=old, IpAddressType="dualstack")

    def test_attributes(self):
        """req: LB-08, LB-09, LB-11, LB-12, LB-13, LB-14, LB-15"""
        arn = self.balancer()["LoadBalancerArn"]

        def attributes():
            return by_key(self.elbv2.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"])

        def modify(**pairs):
            changes = [{"Key": key.replace("__", "."), "Value": value} for key, value in pairs.items()]
            self.elbv2.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=changes)

        before = attributes()
        defaults = {
            "access_logs.s3.enabled": "false",
            "deletion_protection.enabled": "false",
            "ipv6.deny_all_igw_traffic": "false",
            "load_balancing.cross_zone.enabled": "false",
        }
        self.assertLessEqual(defaults.items(), before.items())
        self.fails("", modify, load_balancing__cross_zone__enabled="true", deletion_protection__enabled="maybe")
        self.refused("InvalidConfigurationRequest", modify, access_logs__s3__enabled="true")
        self.fails("attribute key 'no.such' is not recognized", modify, no__such="1")
        self.assertEqual(attributes(), before)
        modify(load_balancing__cross_zone__enabled="true")
        self.assertEqual(attributes(), {**before, "load_balancing.cross_zone.enabled": "true"})

    def test_deletion_protection_survives_a_restart(self):
        """req: DEL-01, DEL-03, ERR-06"""
        arn = self.balancer()["LoadBalancerArn"]
        protect = [{"Key": "deletion_protection.enabled", "Value": "true"}]
        self.elbv2.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=protect)
        self.refused("OperationNotPermitted", self.elbv2.delete_load_balancer, LoadBalancerArn=arn)
        self.service.halt()
        self.service.start()
        self.refused("OperationNotPermitted", self.elbv2.delete_load_balancer, LoadBalancerArn=arn)
        self.assertEqual(len(self.elbv2.describe_load_balancers(LoadBalancerArns=[arn])["LoadBalancers"]), 1)

    def test_pages(self):
        """req: ERR-10"""
        names = [f"lb-{number:02}" for number in range(12)]
        for name in names:
            self.balancer(name, Subnets=["subnet-a"], Scheme="internal")
        pages = self.elbv2.get_paginator("describe_load_balancers").paginate(PaginationConfig={"PageSize": 5})
        found = [[it["LoadBalancerName"] for it in page["LoadBalancers"]] for page in pages]
        self.assertEqual([len(page) for page in found], [5, 5, 2])
        self.assertEqual(sorted(sum(found, [])), names)
        self.refused("ValidationError", self.elbv2.describe_load_balancers, Marker="nonsense")

    def test_waiters(self):
        """req: LB-01, TGT-17"""
        arn = self.balancer()["LoadBalancerArn"]
        for name in ("load_balancer_exists", "load_balancer_available"):
            self.elbv2.get_waiter(name).wait(LoadBalancerArns=[arn], WaiterConfig=FAST)
        deleted = self.elbv2.get_waiter("load_balancers_deleted")
        with self.assertRaises(WaiterError):
            deleted.wait(LoadBalancerArns=[arn], WaiterConfig=FAST)
        self.elbv2.delete_load_balancer(LoadBalancerArn=arn)
        deleted.wait(LoadBalancerArns=[arn], WaiterConfig=FAST)
        group = self.group()["TargetGroupArn"]
        gone = self.elbv2.get_waiter("target_deregistered")
        gone.wait(TargetGroupArn=group, Targets=[{"Id": "i-1"}], WaiterConfig=FAST)
