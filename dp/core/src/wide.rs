//! Rewriting packets of flows with IPv6 on at least one side: IPv6 to IPv6, and between the two (RFC 7915; semantics §17).

use leat_abi::flow::{FlowAddresses, FlowEntry};

use crate::frame::Frame;
use crate::parse::Meta;
use crate::rewrite::Egress;
use crate::table::Side;

/// Bytes by which rewriting makes a packet longer; negative if shorter.
pub fn growth(_entry: &FlowEntry, _side: Side, _meta: &Meta) -> i32 {
    0
}

/// As [`crate::rewrite::apply`], for a flow with a second line. Returns false, and has changed nothing, if the frame has no room for it.
pub fn apply<F: Frame>(
    _frame: &mut F,
    _entry: &FlowEntry,
    _addresses: &FlowAddresses,
    _side: Side,
    _meta: &Meta,
    _egress: Egress,
) -> bool {
    false
}
