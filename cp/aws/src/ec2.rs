//! EC2: the inventory, read only.

use crate::operation::Operation;

/// The operations.
pub const OPERATIONS: &[Operation] = &[];
