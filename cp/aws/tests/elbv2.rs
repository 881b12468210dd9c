//! Elastic Load Balancing 2015-12-01: requests in, XML out, on a model.

#[path = "elbv2/bench.rs"]
mod bench;
#[path = "elbv2/errors.rs"]
mod errors;
#[path = "elbv2/lists.rs"]
mod lists;
#[path = "elbv2/random.rs"]
mod random;
#[path = "elbv2/shapes.rs"]
mod shapes;
#[path = "elbv2/subnets.rs"]
mod subnets;
#[path = "elbv2/targets.rs"]
mod targets;

use leat_aws::Service;

#[test]
fn the_guide_has_the_tables_of_operations() {
    let guide = include_str!("../../../docs/aws.md");
    use Service::{Acm, CloudTrail, Ec2, ElbV2, Iam, Sts, ZonalShift};
    for service in [ElbV2, Ec2, Sts, Acm, Iam, CloudTrail, ZonalShift] {
        let table = leat_aws::operation::markdown(service);
        assert!(guide.contains(&table), "put this table into docs/aws.md, at {service:?}:\n{table}");
    }
}
