//! CloudTrail: `LookupEvents`.

use crate::operation::Operation;

/// The operations.
pub const OPERATIONS: &[Operation] = &[];
