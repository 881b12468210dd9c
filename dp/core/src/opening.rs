//! The first packets of a burst, a stage at a time: what their flows will need is found out and fetched for all of them before any flow is
//! made, so that their cache misses overlap as those of a burst's look-ups do.
//!
//! What is kept of it ([`Opening`]) follows from the packet and the configuration alone, which does not change within a burst: it is as
//! true when the packet's turn comes, whatever packets before it have done. What they may have changed (flows, source ports) is only
//! guessed here, to fetch the right lines, and looked up again then.

use crate::address::Address;
use crate::forwarding::{Forwarding, Group, Listener};
use crate::frame::{BURST, Frame};
use crate::hash;
use crate::parse::{Ends, Meta, Parsed, Tuple};
use crate::pipeline::{Arrival, Pipeline};
use crate::table::Probe;

/// What is known of a packet that may begin a flow at a listener, before the flow is made.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Opening {
    /// Where the client's key leads.
    pub(crate) probe: Probe,
    /// The listener's number.
    pub(crate) listener: u32,
    /// The hash of the attempt to begin a flow: it says where the search for a source port begins.
    pub(crate) attempt: u64,
    /// The hash that chooses the target: the attempt's, or the client's if the group is sticky.
    pub(crate) choice: u64,
    /// The target that it chooses first; none if the group has none.
    pub(crate) slot: Option<u16>,
    /// The pool of source ports between that target and the node address that is tried first, if it was looked up.
    pub(crate) pool: Option<u32>,
}

impl Opening {
    /// All but the pool. `listener` is at the packet's destination, `probe` is the packet's.
    #[inline(always)]
    pub(crate) fn new(forwarding: &Forwarding, meta: &Meta, ends: &Ends, listener: u32, probe: Probe) -> Self {
        let isn = meta.tuple.is_tcp().then_some(meta.seq);
        let attempt = hash::selection(forwarding.selection_key, ends, &meta.tuple, isn);
        let mut opening = Self { probe, listener, attempt, choice: attempt, slot: None, pool: None };
        if let Some((_, group)) = opening.group(forwarding)
            && group.sticky
        {
            let client = if forwarding.sticky_by_64 { ends.source.network_64() } else { ends.source };
            opening.choice = hash::sticky(forwarding.selection_key, group.id, meta.tuple.ip_protocol(), client);
        }
        opening
    }

    /// Chooses the first target.
    #[inline(always)]
    pub(crate) fn choose(&mut self, forwarding: &Forwarding) {
        self.slot = self.group(forwarding).and_then(|(_, group)| group.choose(self.choice, 0));
    }

    /// The listener and its group.
    #[inline(always)]
    pub(crate) fn group<'f>(&self, forwarding: &'f Forwarding) -> Option<(&'f Listener, &'f Group)> {
        let listener = forwarding.numbered_listener(self.listener)?;
        Some((listener, forwarding.group(listener.group)?))
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
        parsed: &[Parsed; BURST],
        probes: &[Probe; BURST],
        missing: u32,
        arrival: Arrival,
    ) -> u32 {
        let Self { forwarding, flows, openings, digest_key, owner_key, lcores, lcore, .. } = self;
        let (forwarding, digest_key) = (&**forwarding, *digest_key);
        let may_be_anothers = *lcores > 1 && arrival == Arrival::Wire;
        let is_own = |ends: &Ends, tuple: &Tuple| {
            !may_be_anothers || hash::owner(*owner_key, ends.source, tuple.source_port(), *lcores) == *lcore
        };
        let (mut ahead, mut wide) = (0, 0);
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
            if forwarding.may_know(ends.source) || !is_own(&ends, tuple) {
                continue;
            }
            let key = (ends.destination, tuple.destination_port(), tuple.ip_protocol());
            if known.0 != key {
                known = (key, forwarding.listener_number(key.0, key.1, key.2));
            }
            if let Some(number) = known.1
                && flows.table.find_at(probes[at], tuple).is_none()
            {
                let opening = Opening::new(forwarding, meta, &ends, number, probes[at]);
                places[at] = opening.group(forwarding).and_then(|(_, group)| group.place(opening.choice));
                openings[at] = opening;
                ahead |= 1 << at;
            }
        }
        for at in bits(ahead) {
            let (opening, place) = (&mut openings[at], places[at]);
            opening.slot = opening.group(forwarding).and_then(|(_, group)| group.slot(place?));
            if let Some(slot) = opening.slot {
                forwarding.fetch_target(slot);
            }
        }
        // What packets of the target will have as their tuple; under full NAT with a port of 0.
        let mut answers = [Tuple::default(); BURST];
        let mut translated = 0;
        for at in bits(ahead) {
            let (Parsed::Flow(meta), opening) = (&parsed[at], &mut openings[at]) else { continue };
            let (Some((listener, group)), Some(slot)) = (opening.group(forwarding), opening.slot) else { continue };
            let Some(target) = forwarding.target_in(slot) else { continue };
            let (protocol, end) = (meta.tuple.ip_protocol(), (target.address, target.port));
            let source = meta.ends(frames[at].bytes()).source;
            wide += u32::from(meta.tuple.is_v6() || !target.address.is_v4());
            if group.preserves(target, source) && forwarding.endpoint(frames[at].in_port()).is_none() {
                flows.table.probe(&Tuple::between(digest_key, protocol, end, (source, meta.tuple.source_port())));
            } else if let Some(node) = listener.source(opening.attempt, 0) {
                let answer = Tuple::between(digest_key, protocol, end, (node, 0));
                opening.pool = flows.ports.pool_of(&answer);
                answers[at] = answer;
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
