//! EC2: requests in, XML out, on what an inventory declares.

mod common;

use leat_aws::{Service, operation};
use leat_model::rest::Role;
use leat_model::{Command, Id, Model, inventory, rest};
use serde_json::json;

fn model() -> Model {
    let inventory = json!({
        "zones": [{"name": "zone-a"}, {"name": "zone-b", "kind": "local-zone", "constrained": true}],
        "networks": [
            {"id": "vpc-1", "cidrs": ["10.1.0.0/16", "fd00:1::/48"], "peers": ["vpc-2"], "labels": {"Name": "main"}},
            {"id": "vpc-2", "cidrs": ["10.2.0.0/16"], "internetGateway": false},
        ],
        "subnets": [
            {"id": "subnet-a", "network": "vpc-1", "zone": "zone-a", "cidr": "10.1.0.0/27", "ipv6Cidr": "fd00:1::/64",
                "reserved": ["10.1.0.1", "10.1.0.3-10.1.0.6"], "labels": {"kubernetes.io/role/elb": "1"}},
            {"id": "subnet-b", "network": "vpc-2", "zone": "zone-b", "cidr": "10.2.0.0/31"},
        ],
        "instances": [
            {"id": "i-1", "subnet": "subnet-a", "address": "10.1.0.7", "otherAddresses": ["10.1.0.8", "fd00:1::8"],
                "labels": {"Name": "web-1"}},
            {"id": "i-2", "subnet": "subnet-b", "address": "10.2.0.1", "state": "stopped"},
            {"id": "i-3", "subnet": "subnet-a", "address": "10.1.0.9"},
        ],
        "staticAddresses": [
            {"id": "eipalloc-1", "address": "198.51.100.1"},
            {"id": "eipalloc-2", "address": "198.51.100.2"},
        ],
    });
    let inventory = serde_json::from_value(inventory).expect("an inventory");
    let mut model = common::model();
    model.apply(Command::Inventory(inventory::Change::Put(inventory)), common::NOW).expect("a good inventory");
    model
}

fn ask(model: &mut Model, action: &str, form: &str) -> Result<Vec<String>, (String, String)> {
    common::query(model, "2016-11-15", action, form)
}

fn ok(action: &str, form: &str) -> Vec<String> {
    ask(&mut model(), action, form).unwrap_or_else(|error| panic!("{action} {form}: {error:?}"))
}

fn refused(action: &str, form: &str) -> (String, String) {
    ask(&mut model(), action, form).expect_err(&format!("{action} {form}"))
}

/// The values of one key, such as `vpcId` in a set.
fn values(said: &[String], key: &str) -> Vec<String> {
    let of = |line: &String| {
        let (path, value) = line.split_once('=').expect("a line");
        let path: Vec<&str> = path.split('.').filter(|part| part.parse::<u32>().is_err()).collect();
        (path.join(".") == key).then(|| value.to_owned())
    };
    said.iter().filter_map(of).collect()
}

fn has(said: &[String], lines: &[&str]) {
    for line in lines {
        assert!(said.iter().any(|said| said == line), "{line} is not in\n{}", said.join("\n"));
    }
}

#[test]
fn networks_and_subnets_are_what_was_declared() {
    let vpcs = ok("DescribeVpcs", "");
    has(
        &vpcs,
        &[
            "requestId=request",
            "vpcSet.1.vpcId=vpc-1",
            "vpcSet.1.cidrBlock=10.1.0.0/16",
            "vpcSet.1.state=available",
            "vpcSet.1.isDefault=false",
            "vpcSet.1.ownerId=000000000000",
            "vpcSet.1.cidrBlockAssociationSet.1.cidrBlock=10.1.0.0/16",
            "vpcSet.1.ipv6CidrBlockAssociationSet.1.ipv6CidrBlock=fd00:1::/48",
            "vpcSet.1.tagSet.1.key=Name",
            "vpcSet.1.tagSet.1.value=main",
            "vpcSet.2.vpcId=vpc-2",
        ],
    );
    let subnets = ok("DescribeSubnets", "");
    // 32 addresses without the first and the last one, 1, 3 to 6, and three of instances.
    has(
        &subnets,
        &[
            "subnetSet.1.subnetId=subnet-a",
            "subnetSet.1.vpcId=vpc-1",
            "subnetSet.1.availabilityZone=zone-a",
            "subnetSet.1.cidrBlock=10.1.0.0/27",
            "subnetSet.1.ipv6CidrBlockAssociationSet.1.ipv6CidrBlock=fd00:1::/64",
            "subnetSet.1.ipv6CidrBlockAssociationSet.1.ipv6CidrBlockState.state=associated",
            "subnetSet.1.mapPublicIpOnLaunch=false",
            "subnetSet.1.availableIpAddressCount=22",
            "subnetSet.1.subnetArn=arn:aws:ec2:on-prem-1:000000000000:subnet/subnet-a",
            "subnetSet.2.availableIpAddressCount=1",
        ],
    );
    has(
        &ok("DescribeAvailabilityZones", "ZoneName.1=zone-b"),
        &[
            "availabilityZoneInfo.1.zoneName=zone-b",
            "availabilityZoneInfo.1.zoneType=local-zone",
            "availabilityZoneInfo.1.zoneState=constrained",
            "availabilityZoneInfo.1.regionName=on-prem-1",
        ],
    );
    has(
        &ok("DescribeVpcAttribute", "VpcId=vpc-1&Attribute=enableDnsSupport"),
        &["vpcId=vpc-1", "enableDnsSupport.value=true"],
    );
    let attributes = ok("DescribeAccountAttributes", "AttributeName.1=default-vpc");
    assert_eq!(values(&attributes, "accountAttributeSet.attributeValueSet.attributeValue"), ["none"]);
}

/// What Kubernetes' controller looks for: whether a subnet's network has a way to the internet.
#[test]
fn a_network_has_one_route_table() {
    let tables = ok("DescribeRouteTables", "Filter.1.Name=vpc-id&Filter.1.Value.1=vpc-1");
    assert_eq!(values(&tables, "routeTableSet.associationSet.main"), ["true"]);
    assert_eq!(
        values(&tables, "routeTableSet.routeSet.destinationCidrBlock"),
        ["10.1.0.0/16", "0.0.0.0/0", "10.2.0.0/16"]
    );
    assert_eq!(values(&tables, "routeTableSet.routeSet.destinationIpv6CidrBlock"), ["fd00:1::/48", "::/0"]);
    let gateways = values(&tables, "routeTableSet.routeSet.gatewayId");
    let gateway = &ok("DescribeInternetGateways", "");
    assert_eq!(values(gateway, "internetGatewaySet.attachmentSet.vpcId"), ["vpc-1"], "the other one has none");
    let id = &values(gateway, "internetGatewaySet.internetGatewayId")[0];
    assert!(id.len() == 21 && id.starts_with("igw-"), "{id}");
    assert_eq!(gateways, ["local", "local", id, id]);
    let closed = ok("DescribeRouteTables", "Filter.1.Name=vpc-id&Filter.1.Value.1=vpc-2");
    assert_eq!(values(&closed, "routeTableSet.routeSet.gatewayId"), ["local"]);
    let peering = ok("DescribeVpcPeeringConnections", "");
    has(
        &peering,
        &["vpcPeeringConnectionSet.1.requesterVpcInfo.vpcId=vpc-1", "vpcPeeringConnectionSet.1.status.code=active"],
    );
    let id = values(&peering, "vpcPeeringConnectionSet.vpcPeeringConnectionId");
    assert_eq!(values(&closed, "routeTableSet.routeSet.vpcPeeringConnectionId"), id);
}

#[test]
fn instances_are_found_by_their_facts() {
    let all = ok("DescribeInstances", "");
    has(
        &all,
        &[
            "reservationSet.1.instancesSet.1.instanceId=i-1",
            "reservationSet.1.instancesSet.1.instanceState.name=running",
            "reservationSet.1.instancesSet.1.instanceState.code=16",
            "reservationSet.1.instancesSet.1.placement.availabilityZone=zone-a",
            "reservationSet.1.instancesSet.1.vpcId=vpc-1",
            "reservationSet.1.instancesSet.1.privateIpAddress=10.1.0.7",
            "reservationSet.1.instancesSet.1.ipv6Address=fd00:1::8",
            "reservationSet.1.instancesSet.1.networkInterfaceSet.1.privateIpAddressesSet.2.privateIpAddress=10.1.0.8",
            "reservationSet.1.instancesSet.1.tagSet.1.value=web-1",
            "reservationSet.2.instancesSet.1.instanceState.name=stopped",
        ],
    );
    for (form, expected) in [
        ("InstanceId.1=i-3&InstanceId.2=i-1", &["i-1", "i-3"][..]),
        ("Filter.1.Name=vpc-id&Filter.1.Value.1=vpc-1", &["i-1", "i-3"]),
        ("Filter.1.Name=instance-state-name&Filter.1.Value.1=pending&Filter.1.Value.2=stopped", &["i-2"]),
        ("Filter.1.Name=tag:Name&Filter.1.Value.1=web-*", &["i-1"]),
        ("Filter.1.Name=tag-key&Filter.1.Value.1=Name&Filter.2.Name=subnet-id&Filter.2.Value.1=subnet-b", &[]),
        ("Filter.1.Name=private-ip-address&Filter.1.Value.1=10.1.0.?", &["i-1", "i-3"]),
        ("InstanceId.1=i-1&Filter.1.Name=availability-zone&Filter.1.Value.1=zone-b", &[]),
    ] {
        assert_eq!(
            values(&ok("DescribeInstances", form), "reservationSet.instancesSet.instanceId"),
            expected,
            "{form}"
        );
    }
    let status = |form| values(&ok("DescribeInstanceStatus", form), "instanceStatusSet.instanceId");
    assert_eq!((status(""), status("IncludeAllInstances=true").len()), (vec!["i-1".into(), "i-3".into()], 3));
}

#[test]
fn lists_have_pages() {
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = ok("DescribeInstances", &format!("MaxResults=2&NextToken={token}"));
        seen.extend(values(&page, "reservationSet.instancesSet.instanceId"));
        match values(&page, "nextToken").pop() {
            Some(next) => token = next,
            None => break,
        }
    }
    assert_eq!(seen, ["i-1", "i-2", "i-3"]);
    assert_eq!(refused("DescribeInstances", "NextToken=!").0, "InvalidParameterValue");
    assert_eq!(refused("DescribeInstances", "MaxResults=0").0, "InvalidParameterValue");
}

/// req: ZN-11, SEC-08
#[test]
fn the_interface_of_a_load_balancer_is_seen_and_cannot_be_changed() {
    let mut model = model();
    let mapping = json!({"subnet": "subnet-a", "allocationId": "eipalloc-1"});
    let request = json!({"name": "web", "subnetMappings": [mapping]});
    let request: rest::CreateLoadBalancer = serde_json::from_value(request).expect("a request");
    model.apply(Command::CreateLoadBalancer { request, id: Id(0xabc) }, common::NOW).expect("a load balancer");
    // As Terraform looks for it.
    let by = |owner: &str| {
        format!(
            "Filter.1.Name=attachment.instance-owner-id&Filter.1.Value.1={owner}\
             &Filter.2.Name=description&Filter.2.Value.1=ELB+net/web/0000000000000abc"
        )
    };
    let said = ask(&mut model, "DescribeNetworkInterfaces", &by("amazon-aws")).expect("it");
    has(
        &said,
        &[
            "networkInterfaceSet.1.description=ELB net/web/0000000000000abc",
            "networkInterfaceSet.1.interfaceType=network_load_balancer",
            "networkInterfaceSet.1.requesterManaged=true",
            "networkInterfaceSet.1.availabilityZone=zone-a",
            "networkInterfaceSet.1.subnetId=subnet-a",
            "networkInterfaceSet.1.vpcId=vpc-1",
            "networkInterfaceSet.1.privateIpAddress=10.1.0.2",
            "networkInterfaceSet.1.association.publicIp=198.51.100.1",
            "networkInterfaceSet.1.association.allocationId=eipalloc-1",
            "networkInterfaceSet.1.attachment.instanceOwnerId=amazon-aws",
            "networkInterfaceSet.1.status=in-use",
        ],
    );
    assert_eq!(
        values(
            &ask(&mut model, "DescribeNetworkInterfaces", &by("someone")).expect("none"),
            "networkInterfaceSet.status"
        ),
        Vec::<String>::new()
    );
    let id = values(&said, "networkInterfaceSet.networkInterfaceId").remove(0);
    for (action, form) in [
        ("ModifyNetworkInterfaceAttribute", format!("NetworkInterfaceId={id}&Description.Value=mine")),
        ("AssignPrivateIpAddresses", format!("NetworkInterfaceId={id}&SecondaryPrivateIpAddressCount=1")),
        ("DeleteNetworkInterface", format!("NetworkInterfaceId={id}")),
        (
            "DetachNetworkInterface",
            format!("AttachmentId={}", values(&said, "networkInterfaceSet.attachment.attachmentId")[0]),
        ),
    ] {
        let before = model.clone();
        let (code, message) = ask(&mut model, action, &form).expect_err(action);
        assert_eq!(code, "OperationNotPermitted", "{action}: {message}");
        assert!(message.contains("ELB net/web/") && model == before, "{message}");
    }
    let addresses = ask(&mut model, "DescribeAddresses", "AllocationId.1=eipalloc-1").expect("it");
    has(&addresses, &["addressesSet.1.privateIpAddress=10.1.0.2", &format!("addressesSet.1.networkInterfaceId={id}")]);
    // The subnet has one address less.
    let said = ask(&mut model, "DescribeSubnets", "SubnetId.1=subnet-a").expect("it");
    assert_eq!(values(&said, "subnetSet.availableIpAddressCount"), ["21"]);
    model.apply(Command::DeleteLoadBalancer { load_balancer: "web".into() }, common::NOW).expect("deleted");
    let said =
        ask(&mut model, "DescribeNetworkInterfaces", "Filter.1.Name=description&Filter.1.Value.1=ELB*").expect("none");
    assert_eq!(values(&said, "networkInterfaceSet.status"), Vec::<String>::new());
}

#[test]
fn static_addresses_are_those_declared() {
    let said = ok("DescribeAddresses", "PublicIp.1=198.51.100.2");
    assert_eq!(values(&said, "addressesSet.allocationId"), ["eipalloc-2"]);
    let said = ok("DescribeAddresses", "Filter.1.Name=public-ip&Filter.1.Value.1=198.51.100.1");
    has(&said, &["addressesSet.1.allocationId=eipalloc-1", "addressesSet.1.domain=vpc"]);
    assert_eq!(values(&said, "addressesSet.associationId"), Vec::<String>::new());
}

#[test]
fn what_there_is_not_has_ec2s_codes() {
    for (action, form, code) in [
        ("DescribeVpcs", "VpcId.1=vpc-9", "InvalidVpcID.NotFound"),
        ("DescribeVpcAttribute", "VpcId=vpc-9&Attribute=enableDnsSupport", "InvalidVpcID.NotFound"),
        ("DescribeSubnets", "SubnetId.1=subnet-a&SubnetId.2=subnet-9", "InvalidSubnetID.NotFound"),
        ("DescribeInstances", "InstanceId.1=i-9", "InvalidInstanceID.NotFound"),
        ("DescribeInstanceStatus", "InstanceId.1=i-9", "InvalidInstanceID.NotFound"),
        ("DescribeAddresses", "AllocationId.1=eipalloc-9", "InvalidAllocationID.NotFound"),
        ("DescribeNetworkInterfaces", "NetworkInterfaceId.1=eni-9", "InvalidNetworkInterfaceID.NotFound"),
        ("DescribeRouteTables", "RouteTableId.1=rtb-9", "InvalidRouteTableID.NotFound"),
        ("DescribeInternetGateways", "InternetGatewayId.1=igw-9", "InvalidInternetGatewayID.NotFound"),
        ("DescribeVpcPeeringConnections", "VpcPeeringConnectionId.1=pcx-9", "InvalidVpcPeeringConnectionID.NotFound"),
        ("DescribeSecurityGroups", "GroupId.1=sg-9", "InvalidGroup.NotFound"),
        ("DescribeAvailabilityZones", "ZoneName.1=zone-z", "InvalidParameterValue"),
        ("DescribeVpcs", "Filter.1.Name=colour&Filter.1.Value.1=red", "InvalidParameterValue"),
        ("DescribeVpcs", "Filter.1.Name=vpc-id", "InvalidParameterValue"),
        ("DescribeVpcs", "DryRun=true", "DryRunOperation"),
        ("DescribeVpcs", "DryRun=true&VpcId.1=vpc-9", "InvalidVpcID.NotFound"),
    ] {
        let (said, message) = refused(action, form);
        assert_eq!(said, code, "{action} {form}: {message}");
    }
    assert_eq!(values(&ok("DescribeSecurityGroups", ""), "securityGroupInfo.groupId"), Vec::<String>::new());
}

/// Whatever would change the inventory is refused, and says how it is changed.
#[test]
fn the_inventory_is_read_only() {
    let writes: Vec<_> = operation::all().filter(|it| it.service == Service::Ec2 && it.role == Role::Admin).collect();
    assert!(writes.len() > 30, "{}", writes.len());
    for operation in writes {
        let (code, message) = refused(operation.name, "NetworkInterfaceId=eni-9");
        assert_eq!(code, "UnsupportedOperation", "{}", operation.name);
        assert!(message.contains("PUT /v1/inventory"), "{message}");
    }
    let mut reads = operation::all().filter(|it| it.service == Service::Ec2 && it.role == Role::Read);
    assert!(reads.all(|it| it.name.starts_with("Describe")));
}
