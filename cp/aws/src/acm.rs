//! Certificate Manager: the certificate store.

use crate::operation::Operation;

/// The operations.
pub const OPERATIONS: &[Operation] = &[];
