//! ICMP errors about packets of flows go to who sent those (semantics §11).

use leat_abi::DropReason;

use crate::frame::{Frame, Now, Verdict};
use crate::parse::Meta;
use crate::pipeline::{Arrival, Pipeline};

impl Pipeline<'_> {
    /// Handles an ICMP error.
    #[cold]
    pub(crate) fn icmp_error<F: Frame>(&mut self, frame: &mut F, meta: &Meta, _arrival: Arrival, now: Now) -> Verdict {
        // About the node's own connections: health checks (S11.8).
        match self.forwarding.local(meta.ends(frame.bytes()).destination) {
            Some(_) => self.punt(frame.in_port(), now),
            None => self.drop(DropReason::IcmpNoFlow),
        }
    }
}
