//! Fragments: they follow the first one of their datagram (semantics §10).

use leat_abi::DropReason;

use crate::frame::{Frame, Now, Verdict};
use crate::parse::{Meta, Place};
use crate::pipeline::{Arrival, Pipeline};
use crate::table::Found;

impl Pipeline<'_> {
    /// Handles a fragment.
    #[cold]
    pub(crate) fn fragment<F: Frame>(
        &mut self,
        _frame: &mut F,
        _meta: &Meta,
        _place: &Place,
        _arrival: Arrival,
        _now: Now,
    ) -> Verdict {
        self.drop(DropReason::FragmentsFull)
    }

    /// Handles a packet of a flow that is larger than the port's MTU after rewriting (S10.7).
    #[cold]
    pub(crate) fn too_big<F: Frame>(
        &mut self,
        _frame: &mut F,
        _meta: &Meta,
        _found: Found,
        _port: u8,
        _now: Now,
    ) -> Verdict {
        self.drop(DropReason::TooBig)
    }
}
