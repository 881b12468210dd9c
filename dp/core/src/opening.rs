//! The first packets of a burst, a stage at a time: what their flows will need is found out and fetched for all of them before any flow is
//! made, so that their cache misses overlap as those of a burst's look-ups do.
//!
//! What is kept of it ([`Opening`]) follows from the packet and the configuration alone, which does not change within a burst: it is as
//! true when the packet's turn comes, whatever packets before it have done. What they may have changed (flows, source ports) is only
//! guessed here, to fetch the right lines, and looked up again then.

use leat_abi::DropReason;
use leat_abi::flow::flag;

use crate::address::Address;
use crate::forwarding::{Forwarding, Group, Listener};
use crate::frame::{BURST, Frame, Now};
use crate::hash;
use crate::parse::{Ends, Meta, Parsed, Tuple};
use crate::pipeline::{Arrival, Pipeline};
use crate::plan::Plan;
use crate::table::Probe;

/// What is known of a packet that may begin a flow at a listener, before the flow is made.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Opening {
    /// Where the client's key leads.
    pub(crate) probe: Probe,
    /// The listener's number.
    pub(crate) listener: u32,
    /// The listener's slot.
    pub(crate) listener_slot: u16,
    /// The target that is chosen first.
    pub(crate) slot: u16,
    /// The hash of the attempt to begin a flow: it says where the search for a source port begins.
    pub(crate) attempt: u64,
    /// The hash that chooses the target: the attempt's, or the client's if the group is sticky.
    pub(crate) choice: u64,
    /// The pool of source ports between that target and the node address that is tried first, if a port of it may be taken just so.
    pub(crate) pool: Option<u32>,
    /// The flow to that target, if there may be one.
    pub(crate) plan: Plan,
}

impl Opening {
    /// Begins to find out what the first packet of a flow at this listener needs: what there is without the target.
    #[inline(always)]
    pub(crate) fn set(
        &mut self,
        forwarding: &Forwarding,
        (meta, ends): (&Meta, &Ends),
        (number, listener, group): (u32, &Listener, &Group),
        probe: Probe,
    ) {
        let isn = meta.tuple.is_tcp().then_some(meta.seq);
        let attempt = hash::selection(forwarding.selection_key, ends, &meta.tuple, isn);
        self.choice = if group.sticky {
            let client = if forwarding.sticky_by_64 { ends.source.network_64() } else { ends.source };
            hash::sticky(forwarding.selection_key, group.id, meta.tuple.ip_protocol(), client)
        } else {
            attempt
        };
        (self.probe, self.listener, self.listener_slot) = (probe, number, listener.slot);
        (self.attempt, self.pool) = (attempt, None);
    }

    /// Plans the flow to the target in this slot. Returns the tuple of the target's packets.
    ///
    /// # Errors
    /// Why there can be no such flow, whatever other flows there are.
    #[inline(always)]
    pub(crate) fn plan_to<F: Frame>(
        &mut self,
        forwarding: &Forwarding,
        (frame, meta): (&F, &Meta),
        (listener, group): (&Listener, &Group),
        slot: u16,
        digest_key_and_now: (u64, Now),
    ) -> Result<Tuple, DropReason> {
        let target = forwarding.target_in(slot).ok_or(DropReason::NoTarget)?;
        self.slot = slot;
        let first = (frame, meta, self.attempt);
        self.plan.fill(forwarding, first, (listener, group), (slot, target), digest_key_and_now)
    }

    /// Where the search for a source port begins.
    #[inline(always)]
    fn port_choice(&self) -> u32 {
        (self.attempt >> 32) as u32
    }
}

/// The numbers of the bits that are set.
#[inline(always)]
pub(crate) fn bits(mut set: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = (set != 0).then(|| set.trailing_zeros() as usize);
        set &= set.wrapping_sub(1);
        bit
    })
}

const _: () = assert!(BURST <= u32::BITS as usize, "a bit for each packet of a burst");

impl Pipeline<'_> {
    /// Looks ahead for packets of a burst, one bit each, that seem to be of no flow. Returns those that will begin one at a listener, on
    /// this lcore, unless a packet before them does: they have their place in [`Pipeline::openings`] filled in.
    #[inline(never)]
    pub(crate) fn look_ahead<F: Frame>(
        &mut self,
        frames: &[F],
        (parsed, probes): (&[Parsed; BURST], &[Probe; BURST]),
        missing: u32,
        arrival: Arrival,
        now: Now,
    ) -> u32 {
        let Self { forwarding, flows, openings, digest_key, owner_key, lcores, lcore, .. } = self;
        let (forwarding, digest_key) = (&**forwarding, *digest_key);
        let may_be_anothers = *lcores > 1 && arrival == Arrival::Wire;
        let is_own = |ends: &Ends, tuple: &Tuple| {
            !may_be_anothers || hash::owner(*owner_key, ends.source, tuple.source_port(), *lcores) == *lcore
        };
        let mut ahead = 0;
        // Where the table of the group says who the target is.
        let mut places = [None; BURST];
        // The last packet's listener, by where it stands: often the next one's, too.
        let mut known = ((Address::default(), 0, 0), None);
        for at in bits(missing) {
            let (Some(Parsed::Flow(meta)), Some(frame)) = (parsed.get(at), frames.get(at)) else { continue };
            if !meta.opens() {
                continue;
            }
            let (tuple, ends) = (&meta.tuple, meta.ends(frame.bytes()));
            // Of who is the appliance itself or a target, more is to be asked.
            if forwarding.knows(ends.source) || !is_own(&ends, tuple) {
                continue;
            }
            let key = (ends.destination, tuple.destination_port(), tuple.ip_protocol());
            if known.0 != key {
                known = (key, forwarding.service(key.0, key.1, key.2));
            }
            let Some(service @ (_, listener, group)) = known.1 else { continue };
            if flows.table.overflows(probes[at]) && flows.table.find_at(probes[at], tuple).is_some() {
                continue;
            }
            let opening = &mut openings[at];
            opening.set(forwarding, (meta, &ends), service, probes[at]);
            if let Some(place) = group.place(opening.choice) {
                places[at] = Some((place, listener, group));
                ahead |= 1 << at;
            }
        }
        for at in bits(ahead) {
            let Some((place, _, group)) = places[at] else { continue };
            if let Some(slot) = group.slot(place) {
                openings[at].slot = slot;
                forwarding.fetch_target(slot);
            }
        }
        // What packets of the target will have as their tuple; under full NAT with a port of 0.
        let mut answers = [Tuple::default(); BURST];
        let (mut translated, mut wide) = (0, 0);
        for at in bits(ahead) {
            let (Parsed::Flow(meta), Some((_, listener, group))) = (&parsed[at], places[at]) else { continue };
            let opening = &mut openings[at];
            let (first, slot) = ((&frames[at], meta), opening.slot);
            let Ok(tuple) = opening.plan_to(forwarding, first, (listener, group), slot, (digest_key, now)) else {
                // What becomes of it is found out at length.
                ahead &= !(1 << at);
                continue;
            };
            wide += u32::from(opening.plan.entry.is_wide());
            if !opening.plan.entry.has(flag::FULL_NAT) {
                opening.plan.answers = flows.table.probe(&tuple);
            } else if !listener.shares_ports {
                opening.pool = flows.ports.pool_of(&tuple);
                answers[at] = tuple;
                translated |= 1 << at;
            }
        }
        flows.table.fetch_free(ahead.count_ones() - wide, wide);
        for at in bits(translated) {
            if let Some(pool) = openings[at].pool {
                flows.ports.fetch(pool, openings[at].port_choice());
            }
        }
        for at in bits(translated) {
            let opening = &openings[at];
            if let Some(port) = opening.pool.and_then(|pool| flows.ports.likely(pool, opening.port_choice())) {
                flows.table.probe(&answers[at].with_destination_port(port));
            }
        }
        ahead
    }
}
