//! Elastic Load Balancing 2015-12-01.

mod load_balancers;

use leat_model::rest::Role;

use crate::operation::{Operation, QueryHandler, Service};

const fn read(name: &'static str, run: QueryHandler) -> Operation {
    Operation::query(Service::ElbV2, name, Role::Read, run)
}

const fn admin(name: &'static str, run: QueryHandler) -> Operation {
    Operation::query(Service::ElbV2, name, Role::Admin, run)
}

/// The operations.
pub const OPERATIONS: &[Operation] =
    &[admin("DeleteLoadBalancer", load_balancers::delete), read("DescribeLoadBalancers", load_balancers::describe)];
