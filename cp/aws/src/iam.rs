//! IAM: server certificates.

use crate::operation::Operation;

/// The operations.
pub const OPERATIONS: &[Operation] = &[];
