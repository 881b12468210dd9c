//! One packet: an owned `rte_mbuf`.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::slice;

use arrayvec::ArrayVec;
use leat_dpdk_sys as sys;

use crate::port::PortId;

/// An owned packet buffer. Dropping it returns it to its pool. Stays on its thread; a
/// [`handover`](crate::handover()) takes it to another.
///
/// A packet is normally one contiguous *segment*. Drivers chain several only for frames larger than the pool's data
/// room, which [`Port::configure`](crate::Port::configure) rules out for frames within the MTU. All access here is
/// to the first segment; check [`is_single_segment`](Mbuf::is_single_segment) where it matters.
///
/// The type is a pointer, never null; wrapping it in a newtype costs nothing.
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

impl Mbuf {
    /// The first segment's bytes, from the Ethernet header on.
    #[inline]
    pub fn data(&self) -> &[u8] {
        let m = self.raw();
        // SAFETY: needed to see C memory as a slice. `data_off..data_off + data_len` lies inside the buffer: DPDK
        // and drivers set it so, and the methods below keep it so. Pool memory is initialised (mapped as zeroes)
        // and this mbuf owns its buffer.
        unsafe { slice::from_raw_parts(m.buf_addr.cast::<u8>().add(m.data_off.into()), m.data_len.into()) }
    }

    /// The first segment's bytes, writable.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        let m = self.raw();
        // SAFETY: as in `data`; `&mut self` makes the access exclusive.
        unsafe { slice::from_raw_parts_mut(m.buf_addr.cast::<u8>().add(m.data_off.into()), m.data_len.into()) }
    }

    /// The packet's length in bytes, over all segments.
    #[inline]
    pub fn len(&self) -> usize {
        self.raw().pkt_len as usize
    }

    /// True for a packet without any byte.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if [`data`](Mbuf::data) is the whole packet.
    #[inline]
    pub fn is_single_segment(&self) -> bool {
        self.raw().nb_segs == 1
    }

    /// Cuts the packet's end off so that `len` bytes remain. False, and nothing changed, if it is shorter than that
    /// or has several segments.
    #[inline]
    #[must_use = "false means that nothing was cut"]
    pub fn truncate(&mut self, len: usize) -> bool {
        if !self.is_single_segment() || len > self.len() {
            return false;
        }
        let m = self.raw_mut();
        m.data_len = len as u16;
        m.pkt_len = len as u32;
        true
    }

    /// Adds `count` bytes in front and returns them, for the caller to fill: they hold bytes of earlier packets.
    /// None, and nothing changed, if the headroom is smaller.
    #[inline]
    #[must_use = "none means that nothing was added"]
    pub fn prepend(&mut self, count: usize) -> Option<&mut [u8]> {
        let m = self.raw_mut();
        let count_u16 = u16::try_from(count).ok()?;
        let data_off = m.data_off.checked_sub(count_u16)?;
        let data_len = m.data_len.checked_add(count_u16)?;
        m.data_off = data_off;
        m.data_len = data_len;
        m.pkt_len += u32::from(count_u16);
        self.data_mut().get_mut(..count)
    }

    /// Takes `count` bytes away in front. False, and nothing changed, if the first segment is shorter.
    #[inline]
    #[must_use = "false means that nothing was taken away"]
    pub fn trim_front(&mut self, count: usize) -> bool {
        let m = self.raw_mut();
        if count > usize::from(m.data_len) {
            return false;
        }
        m.data_off += count as u16;
        m.data_len -= count as u16;
        m.pkt_len -= count as u32;
        true
    }

    /// Adds `count` bytes at the end and returns them, for the caller to fill: they hold bytes of earlier packets.
    /// None, and nothing changed, if the room behind the data is smaller or the packet has several segments.
    #[inline]
    #[must_use = "none means that nothing was added"]
    pub fn append(&mut self, count: usize) -> Option<&mut [u8]> {
        if !self.is_single_segment() {
            return None;
        }
        let m = self.raw_mut();
        let old_len = usize::from(m.data_len);
        let tailroom = usize::from(m.buf_len).checked_sub(usize::from(m.data_off) + old_len)?;
        if count > tailroom {
            return None;
        }
        // No overflow: data_off + data_len + count <= buf_len, a u16.
        m.data_len += count as u16;
        m.pkt_len += count as u32;
        self.data_mut().get_mut(old_len..)
    }

    /// The port that received the packet; none for an mbuf from [`Mempool::alloc`](crate::Mempool::alloc).
    #[inline]
    pub fn port(&self) -> Option<PortId> {
        let port = self.raw().port;
        (u32::from(port) != sys::RTE_MBUF_PORT_INVALID).then_some(PortId::new(port))
    }

    /// Says that another port received the packet.
    #[inline]
    pub fn set_port(&mut self, port: u16) {
        self.raw_mut().port = port;
    }

    /// The VLAN tag that the driver has taken off the frame, if it did.
    #[inline]
    pub fn vlan_tag(&self) -> Option<u16> {
        (self.raw().ol_flags & sys::leat_mbuf_rx_vlan_stripped != 0).then(|| self.raw().vlan_tci)
    }

    /// Forgets what the driver said of a VLAN tag.
    #[inline]
    pub fn forget_vlan_tag(&mut self) {
        self.raw_mut().ol_flags &= !(sys::leat_mbuf_rx_vlan_stripped | sys::leat_mbuf_rx_vlan);
    }

    /// The hash by which the NIC chose the queue, if it computed one.
    #[inline]
    pub fn rss_hash(&self) -> Option<u32> {
        // SAFETY: needed to read a union; every variant is plain integers, of which any bit pattern is valid.
        (self.raw().ol_flags & sys::leat_mbuf_rx_rss_hash != 0).then(|| unsafe { self.raw().__bindgen_anon_2.hash.rss })
    }

    /// 64 bits of the program's own that travels with the mbuf over a [`handover`](crate::handover()), e.g. what the
    /// receiving lcore is to do with it. Without a [`set_tag`](Mbuf::set_tag) before, it is meaningless.
    #[inline]
    pub fn tag(&self) -> u64 {
        // SAFETY: as in `rss_hash`.
        let (low, high) = unsafe {
            let hash = &self.raw().__bindgen_anon_2.hash;
            (hash.usr, hash.fdir.hi)
        };
        u64::from(low) | u64::from(high) << 32
    }

    /// Sets the [`tag`](Mbuf::tag). Takes the place of the [`rss_hash`](Mbuf::rss_hash), which is none afterwards.
    #[inline]
    pub fn set_tag(&mut self, tag: u64) {
        let m = self.raw_mut();
        m.ol_flags &= !sys::leat_mbuf_rx_rss_hash;
        m.__bindgen_anon_2.hash.fdir.hi = (tag >> 32) as u32;
        m.__bindgen_anon_2.hash.usr = tag as u32;
    }

    /// Forgets what the receiving driver noted about the packet and asks the transmitting driver for no offload. To
    /// be called before a received packet is transmitted.
    #[inline]
    pub fn clear_offloads(&mut self) {
        let m = self.raw_mut();
        m.ol_flags &= sys::leat_mbuf_attachment;
        m.__bindgen_anon_3.tx_offload = 0;
    }

    /// # Safety
    /// `mbuf` is a live mbuf that nobody else owns or will use, the first of its chain.
    #[inline]
    pub(crate) unsafe fn from_raw(mbuf: NonNull<sys::rte_mbuf>) -> Mbuf {
        Mbuf(mbuf)
    }

    /// Gives the mbuf away without freeing it.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<sys::rte_mbuf> {
        ManuallyDrop::new(self).0
    }

    #[inline]
    fn raw(&self) -> &sys::rte_mbuf {
        // SAFETY: needed to reach the C struct. It is live and initialised, and this handle is its only user until
        // it is given away.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    fn raw_mut(&mut self) -> &mut sys::rte_mbuf {
        // SAFETY: as in `raw`; `&mut self` makes it exclusive.
        unsafe { self.0.as_mut() }
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: needed to return the mbuf, with the rest of its chain, to its pool; this handle owns it and is
        // going away.
        unsafe { sys::rte_pktmbuf_free(self.0.as_ptr()) }
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf").field("port", &self.port()).field("len", &self.len()).finish_non_exhaustive()
    }
}

/// Frees a whole batch at once, which is cheaper than dropping one by one. Leaves `batch` empty.
#[inline]
pub fn free_batch<M: Into<Mbuf>, const N: usize>(batch: &mut ArrayVec<M, N>) {
    let mut raw = take_raw(batch);
    // SAFETY: needed to free in bulk. The pointers were owned by `batch`, are owned by nobody now and are not used
    // again; there are at most N of them, far below u32::MAX for an array that fits on a stack.
    unsafe { sys::rte_pktmbuf_free_bulk(raw.as_mut_ptr(), raw.len() as u32) }
}

/// The batch as DPDK's functions want it, leaving `batch` empty. Whoever calls this owns the mbufs.
///
/// Plain loops over plain memory, here and below: with a newtype for `M` they compile to a copy of the pointers.
#[inline]
pub(crate) fn take_raw<M: Into<Mbuf>, const N: usize>(batch: &mut ArrayVec<M, N>) -> ArrayVec<*mut sys::rte_mbuf, N> {
    let mut raw = ArrayVec::<*mut sys::rte_mbuf, N>::new();
    let count = batch.len();
    // SAFETY: needed to move the elements without a check for each. The first `count` of `batch` are initialised, and are
    // moved out once, as it counts as empty from here on (a panic in `into` could only leak). `raw` has the same
    // capacity, and its first `count` elements have been written when its length is set.
    unsafe {
        batch.set_len(0);
        for i in 0..count {
            let mbuf: Mbuf = batch.as_ptr().add(i).read().into();
            raw.as_mut_ptr().add(i).write(mbuf.into_raw().as_ptr());
        }
        raw.set_len(count);
    }
    raw
}

/// Appends mbufs that DPDK has handed out.
///
/// # Safety
/// Each pointer is a live mbuf that nobody else owns or will use, the first of its chain. There is room for them in
/// `batch`.
#[inline]
pub(crate) unsafe fn extend_from_raw<M: From<Mbuf>, const N: usize>(
    batch: &mut ArrayVec<M, N>,
    raw: &[*mut sys::rte_mbuf],
) {
    let len = batch.len();
    debug_assert!(raw.len() <= N - len);
    // SAFETY: needed to take ownership without a check for each; the caller vouches for the pointers, which as live mbufs'
    // are not null, and for the room. The elements have been written when the length is set (a panic in `from` could
    // only leak).
    unsafe {
        for (i, &mbuf) in raw.iter().enumerate() {
            batch.as_mut_ptr().add(len + i).write(M::from(Mbuf::from_raw(NonNull::new_unchecked(mbuf))));
        }
        batch.set_len(len + raw.len());
    }
}
