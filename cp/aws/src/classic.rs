//! Elastic Load Balancing 2012-06-01: Classic load balancers.

use crate::operation::Operation;

/// The operations.
pub const OPERATIONS: &[Operation] = &[];
