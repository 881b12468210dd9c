//! The commands of the Network Load Balancer guide and of the Classic guide, as they are written there, with traffic after each of them.
//!
//! Only the placeholders that stand for ARNs are filled in, and `--endpoint-url` is added; the ids are declared in the inventory.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail, ensure};
use leat_testbed::{Appliance, ApplianceOptions, Bed, Run, Target, Topology, e2e, wait_for};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Duration;

const ENDPOINT: &str = "http://127.0.0.1:9321";
const HEALTHY: Duration = Duration::from_secs(60);
/// Debian's AWS CLI.
const DEBIAN: &str = "/usr/bin/aws";

/// The AWS CLIs that are there: Debian's, and the newest if `scripts/setup-python` could get it.
fn clients() -> Vec<PathBuf> {
    let newest = std::env::var_os("LEAT_PYTHON").map(|directory| Path::new(&directory).join("bin/aws"));
    let all = [Some(PathBuf::from(DEBIAN)), newest];
    all.into_iter().flatten().filter(|path| path.is_file()).collect()
}

/// Two zones of the guide's network, whose instances are targets 1 and 2. Clients are in the first subnet of `p0`.
fn inventory() -> Value {
    json!({
        "zones": [{"name": "us-east-2a"}],
        "networks": [{"id": "vpc-0598c7d356EXAMPLE", "cidrs": ["10.1.0.0/16", "10.2.0.0/16", "fd00:1::/32"]}],
        "subnets": [
            {"id": "subnet-0e3f5cac72EXAMPLE", "network": "vpc-0598c7d356EXAMPLE", "zone": "us-east-2a",
             "cidr": "10.1.0.0/24", "ipv6Cidr": "fd00:1::/64", "reserved": ["10.1.0.100-10.1.0.109", "10.1.0.1"]},
            {"id": "subnet-targets", "network": "vpc-0598c7d356EXAMPLE", "zone": "us-east-2a", "cidr": "10.2.0.0/24"},
        ],
        "instances": [
            {"id": "i-1234567890abcdef0", "subnet": "subnet-targets", "address": "10.2.0.11"},
            {"id": "i-0abcdef1234567890", "subnet": "subnet-targets", "address": "10.2.0.12"},
            {"id": "i-4e05f721", "subnet": "subnet-targets", "address": "10.2.0.13"},
        ],
        "staticAddresses": [{"id": "eipalloc-12345678", "address": "10.1.0.200"}],
    })
}

/// An AWS CLI beside the appliance.
struct Aws<'b> {
    bed: &'b Bed,
    program: PathBuf,
    key: String,
    secret: String,
}

impl Aws<'_> {
    /// Runs a command as it stands in the guide, in a shell; the placeholders are replaced. The answer, `Null` if there is none.
    fn guide(&self, text: &str, placeholders: &[(&str, &str)]) -> Result<Value> {
        let mut text = text.to_owned();
        for (placeholder, value) in placeholders {
            text = text.replace(placeholder, value);
        }
        // `aws` is this one, with the endpoint.
        let script = format!("aws() {{ '{}' \"$@\" --endpoint-url {ENDPOINT}; }}\n{text}\n", self.program.display());
        let mut command = self.bed.topology.lb.command("/bin/bash");
        command.args(["-e", "-c", &script]);
        command.env("AWS_ACCESS_KEY_ID", &self.key).env("AWS_SECRET_ACCESS_KEY", &self.secret);
        command.env("AWS_DEFAULT_REGION", "us-east-2").env("AWS_PAGER", "").env("AWS_MAX_ATTEMPTS", "1");
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("HOME", self.bed.run.dir());
        let output = command.output()?;
        ensure!(
            output.status.success(),
            "{text}\nended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        if output.stdout.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{text}: {}", String::from_utf8_lossy(&output.stdout)))
    }
}

/// One appliance between clients and four targets, with the guide's ids declared and a user whose keys the client has.
fn bed() -> Result<(Bed, String, String)> {
    let run = Run::start_unique()?;
    let topology = Topology::create(&run, 4)?;
    topology.enable_ipv6()?;
    let targets = Target::start_all(&run, &topology)?;
    let options = ApplianceOptions {
        ipv6: true,
        control_plane: vec![("region", "us-east-2"), ("account", "123456789012")],
        ..ApplianceOptions::default()
    };
    let appliance = Appliance::start(&run, &topology, &options)?;
    let bed = Bed { appliance, targets, topology, run };
    bed.appliance.rest.expect("PUT", "/v1/inventory", Some(&inventory()))?;
    let user = bed.appliance.rest.expect("POST", "/v1/users", Some(&json!({"name": "guide", "role": "admin"})))?;
    let secret = user["secretAccessKey"].as_str().context("no secret")?.to_owned();
    let key = user["user"]["accessKeyId"].as_str().context("no access key")?.to_owned();
    Ok((bed, key, secret))
}

/// What clients connect to: IPv4 first.
fn addresses(bed: &Bed, name: &str) -> Result<Vec<String>> {
    let shown = bed.appliance.rest.get(&format!("/v1/load-balancers/{name}"))?;
    let zones = shown["availabilityZones"].as_array().context("no zones")?;
    let all = zones.iter().flat_map(|zone| zone["addresses"].as_array().into_iter().flatten());
    Ok(all.filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Who answers `GET /` at an address, such as `t1`; the first answer may take until checks have passed.
fn answers(bed: &Bed, address: &str) -> Result<String> {
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    wait_for("an answer", HEALTHY, || {
        let mut command = bed.cli().command("curl");
        command.args(["--silent", "--max-time", "2", &format!("http://{host}/")]);
        let output = command.output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        text.split_whitespace().next().map(str::to_owned)
    })
}

/// Asks until both of the guide's instances have answered.
fn both_answer(bed: &Bed, address: &str) -> Result<()> {
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..200 {
        seen.insert(answers(bed, address)?);
        if seen.len() == 2 {
            return Ok(());
        }
    }
    bail!("only {seen:?} answered at {address}")
}

fn wait_state(aws: &Aws<'_>, group: &str, wanted: &str) -> Result<()> {
    let text = "aws elbv2 describe-target-health --target-group-arn targetgroup-arn";
    wait_for("the targets' state", HEALTHY, || {
        let shown = aws.guide(text, &[("targetgroup-arn", group)]).ok()?;
        let states: Vec<&str> = shown["TargetHealthDescriptions"]
            .as_array()?
            .iter()
            .filter_map(|it| it["TargetHealth"]["State"].as_str())
            .collect();
        (states.len() == 2 && states.iter().all(|state| *state == wanted)).then_some(())
    })
}

fn arn<'v>(value: &'v Value, list: &str, key: &str) -> Result<&'v str> {
    value[list][0][key].as_str().with_context(|| format!("{list}[0].{key} is missing in {value}"))
}

/// Whether an ARN has the form that the guide shows: `…/1234567890123456` at its end.
fn has_form(arn: &str, start: &str) -> bool {
    arn.strip_prefix(start)
        .is_some_and(|rest| rest.split('/').all(|id| id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit())))
}

const CREATE_IPV4: &str = "aws elbv2 create-load-balancer --name my-load-balancer --type network --subnets \\
subnet-0e3f5cac72EXAMPLE";
const CREATE_DUALSTACK: &str = "aws elbv2 create-load-balancer --name my-load-balancer --type network --subnets \\
subnet-0e3f5cac72EXAMPLE --ip-address-type dualstack";
const CREATE_STATIC: &str = "aws elbv2 create-load-balancer --name my-load-balancer --type network \\
--subnet-mappings SubnetId=subnet-0e3f5cac72EXAMPLE,AllocationId=eipalloc-12345678";
const CREATE_GROUP: &str = "aws elbv2 create-target-group --name my-targets --protocol TCP --port 80 --vpc-id \\
vpc-0598c7d356EXAMPLE";
const CREATE_GROUP_DUALSTACK: &str = "aws elbv2 create-target-group --name my-targets --protocol TCP --port 80 --vpc-id \\
vpc-0598c7d356EXAMPLE --ip-address-type [ipv4 or ipv6]";
const REGISTER: &str = "aws elbv2 register-targets --target-group-arn targetgroup-arn --targets \\
Id=i-1234567890abcdef0 Id=i-0abcdef1234567890";
const CREATE_LISTENER: &str = "aws elbv2 create-listener --load-balancer-arn loadbalancer-arn --protocol TCP --port 80  \\
--default-actions Type=forward,TargetGroupArn=targetgroup-arn";
const DELETE: &str = "aws elbv2 delete-load-balancer --load-balancer-arn loadbalancer-arn
aws elbv2 delete-target-group --target-group-arn targetgroup-arn";
const SET_ATTRIBUTE: &str = "aws elbv2 modify-target-group-attributes --attributes \\
Key=preserve_client_ip.enabled,Value=false --target-group-arn ARN";

/// A tutorial from the first command to the last one.
fn tutorial(aws: &Aws<'_>, create: &str, create_group: &str, group_fill: &[(&str, &str)]) -> Result<()> {
    let bed = aws.bed;
    let made = aws.guide(create, &[])?;
    let balancer = arn(&made, "LoadBalancers", "LoadBalancerArn")?;
    let start = "arn:aws:elasticloadbalancing:us-east-2:123456789012:";
    ensure!(has_form(balancer, &format!("{start}loadbalancer/net/my-load-balancer/")), "{balancer}");
    let made = aws.guide(create_group, group_fill)?;
    let group = arn(&made, "TargetGroups", "TargetGroupArn")?;
    ensure!(has_form(group, &format!("{start}targetgroup/my-targets/")), "{group}");
    let fill = [("loadbalancer-arn", balancer), ("targetgroup-arn", group), ("ARN", group)];
    ensure!(aws.guide(REGISTER, &fill)?.is_null(), "register-targets says something");
    let made = aws.guide(CREATE_LISTENER, &fill)?;
    let listener = arn(&made, "Listeners", "ListenerArn")?;
    ensure!(has_form(listener, &format!("{start}listener/net/my-load-balancer/")), "{listener}");
    wait_state(aws, group, "healthy")?;
    for address in addresses(bed, "my-load-balancer")? {
        both_answer(bed, &address)?;
    }
    let shown = aws.guide(SET_ATTRIBUTE, &fill)?;
    ensure!(shown["Attributes"].as_array().is_some_and(|list| list.len() > 5), "{shown}");
    ensure!(aws.guide(DELETE, &fill)?.is_null(), "deleting says something");
    let left = bed.appliance.rest.get("/v1/load-balancers")?;
    ensure!(left["loadBalancers"] == json!([]), "{left}");
    Ok(())
}

/// req: ZN-01, ZN-05, LB-06, LB-07, TG-07, TGT-01, IPT-06, ATT-13, GEN-01
#[test]
fn the_tutorials_work_as_written_and_traffic_follows() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let (bed, key, secret) = bed()?;
    let clients = clients();
    ensure!(!clients.is_empty(), "{DEBIAN} is not there: run scripts/setup, which installs awscli");
    for program in clients {
        let aws = Aws { bed: &bed, program, key: key.clone(), secret: secret.clone() };
        tutorial(&aws, CREATE_IPV4, CREATE_GROUP, &[])?;
        tutorial(&aws, CREATE_DUALSTACK, CREATE_GROUP_DUALSTACK, &[("[ipv4 or ipv6]", "ipv4")])?;
        tutorial(&aws, CREATE_STATIC, CREATE_GROUP, &[])?;
    }
    bed.finish()
}

/// Clients connect to the static address; targets see the node's own one.
///
/// req: ZN-05, ZN-15
#[test]
fn a_static_address_is_for_clients_alone() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let (bed, key, secret) = bed()?;
    let aws = Aws { bed: &bed, program: DEBIAN.into(), key, secret };
    let made = aws.guide(CREATE_STATIC, &[])?;
    let balancer = arn(&made, "LoadBalancers", "LoadBalancerArn")?.to_owned();
    let zone = &made["LoadBalancers"][0]["AvailabilityZones"][0];
    ensure!(zone["LoadBalancerAddresses"][0]["IpAddress"] == "10.1.0.200", "{zone}");
    ensure!(zone["LoadBalancerAddresses"][0]["AllocationId"] == "eipalloc-12345678", "{zone}");
    let made = aws.guide(CREATE_GROUP, &[])?;
    let group = arn(&made, "TargetGroups", "TargetGroupArn")?.to_owned();
    let fill = [("loadbalancer-arn", balancer.as_str()), ("targetgroup-arn", group.as_str()), ("ARN", group.as_str())];
    aws.guide(SET_ATTRIBUTE, &fill)?;
    aws.guide(REGISTER, &fill)?;
    aws.guide(CREATE_LISTENER, &fill)?;
    wait_state(&aws, &group, "healthy")?;
    both_answer(&bed, "10.1.0.200")?;
    let shown = bed.appliance.rest.get("/v1/load-balancers/my-load-balancer")?;
    let own = shown["availabilityZones"][0]["privateIpv4Address"].as_str().context("no own address")?.to_owned();
    let output = bed.cli().command("curl").args(["--silent", "--max-time", "5", "http://10.1.0.200/"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(text.contains(&format!(" {own}:")), "the target saw {text:?}, not {own}");
    bed.finish()
}

/// req: CLB-01, CLB-02, CLB-03, CLB-04, CLB-05, CLB-06
#[test]
fn classic_instances_are_registered_as_written_and_traffic_follows() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let (bed, key, secret) = bed()?;
    for program in clients() {
        let aws = Aws { bed: &bed, program, key: key.clone(), secret: secret.clone() };
        aws.guide(
            "aws elb create-load-balancer --load-balancer-name my-loadbalancer --subnets subnet-0e3f5cac72EXAMPLE \\
             --listeners Protocol=TCP,LoadBalancerPort=80,InstanceProtocol=TCP,InstancePort=80",
            &[],
        )?;
        aws.guide(
            "aws elb configure-health-check --load-balancer-name my-loadbalancer \\
             --health-check Target=TCP:80,Interval=5,Timeout=2,UnhealthyThreshold=2,HealthyThreshold=2",
            &[],
        )?;
        aws.guide(
            "aws elb register-instances-with-load-balancer --load-balancer-name my-loadbalancer --instances i-1234567890abcdef0",
            &[],
        )?;
        let register =
            "aws elb register-instances-with-load-balancer --load-balancer-name my-loadbalancer --instances i-4e05f721";
        let both = json!({"Instances": [{"InstanceId": "i-1234567890abcdef0"}, {"InstanceId": "i-4e05f721"}]});
        ensure!(sorted(aws.guide(register, &[])?) == sorted(both), "registering gives the full list");
        let shown = aws.guide("aws elb describe-load-balancers --load-balancer-names my-loadbalancer", &[])?;
        ensure!(
            shown["LoadBalancerDescriptions"][0]["Instances"].as_array().is_some_and(|it| it.len() == 2),
            "{shown}"
        );
        wait_for("the instances to be in service", HEALTHY, || {
            let shown = aws.guide("aws elb describe-instance-health --load-balancer-name my-loadbalancer", &[]).ok()?;
            let states = shown["InstanceStates"].as_array()?;
            (states.len() == 2 && states.iter().all(|it| it["State"] == "InService")).then_some(())
        })?;
        let address = classic_address(&bed)?;
        both_answer(&bed, &address)?;
        let deregister = "aws elb deregister-instances-from-load-balancer --load-balancer-name my-loadbalancer --instances i-4e05f721";
        let left = json!({"Instances": [{"InstanceId": "i-1234567890abcdef0"}]});
        ensure!(aws.guide(deregister, &[])? == left, "deregistering gives the remaining list");
        for _ in 0..50 {
            ensure!(answers(&bed, &address)? == "t1", "the deregistered instance answered");
        }
        aws.guide("aws elb delete-load-balancer --load-balancer-name my-loadbalancer", &[])?;
    }
    bed.finish()
}

fn sorted(mut answer: Value) -> Value {
    if let Some(list) = answer["Instances"].as_array_mut() {
        list.sort_by_key(|instance| instance["InstanceId"].to_string());
    }
    answer
}

/// Where the Classic load balancer's listener stands: the data plane's statistics tell.
fn classic_address(bed: &Bed) -> Result<String> {
    let stats = bed.appliance.rest.get("/v1/stats")?;
    let listener = stats["listeners"].as_array().and_then(|list| list.first()).context("no listener")?;
    listener["address"].as_str().map(str::to_owned).with_context(|| listener.to_string())
}
