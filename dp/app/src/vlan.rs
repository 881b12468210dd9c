//! VLANs (IEEE 802.1Q, one tag): each is a port of its own, on the device of another one. Its frames are untagged everywhere but on
//! that device: the tag is taken off before the pipeline and put on at the last moment.

use crate::options::Options;
use crate::packet::Packet;

const ETHERTYPE: [u8; 2] = [0x81, 0x00];
/// The bits of a tag that are the VLAN's number.
const ID: u16 = 0x0fff;

/// A VLAN as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VlanOption {
    /// The name that people and the API use for it as a port.
    pub name: String,
    /// The port on whose device it is.
    pub parent: String,
    /// Its number, 1–4094.
    pub id: u16,
}

impl VlanOption {
    /// Reads `NAME=PORT:ID`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=').and_then(|(name, rest)| Some((name, rest.split_once(':')?)));
        let (name, (parent, id)) = parts.ok_or("write NAME=PORT:ID, such as v100=p0:100")?;
        crate::options::check_port_name(name)?;
        let in_range = |id: &u16| (1..=4094).contains(id);
        let id = id.parse().ok().filter(in_range).ok_or(format!("{id:?} is not a VLAN's number (1 to 4094)"))?;
        Ok(Self { name: name.to_owned(), parent: parent.to_owned(), id })
    }
}

/// A VLAN in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vlan {
    /// Its number as a port.
    pub port: u8,
    /// The port on whose device it is.
    pub parent: u8,
    /// Its number.
    pub id: u16,
}

impl Vlan {
    /// The VLANs that were asked for, numbered after the devices' ports, which are `names` in the order of their numbers.
    ///
    /// # Errors
    /// A VLAN's parent is not there, or two are the same.
    pub fn of(options: &Options, names: &[&str]) -> anyhow::Result<Vec<Self>> {
        let mut vlans: Vec<Self> = Vec::new();
        for (number, vlan) in (names.len()..).zip(&options.vlans) {
            let Some(parent) = names.iter().position(|name| *name == vlan.parent) else {
                anyhow::bail!(
                    "--vlan {}: there is no port {}; the ports are {}",
                    vlan.name,
                    vlan.parent,
                    names.join(", ")
                );
            };
            let (port, parent, id) = (number as u8, parent as u8, vlan.id);
            let same = vlans.iter().any(|other| (other.parent, other.id) == (parent, id));
            anyhow::ensure!(!same, "--vlan {}: VLAN {id} of port {} has a name already", vlan.name, vlan.parent);
            vlans.push(Self { port, parent, id });
        }
        Ok(vlans)
    }
}

/// Makes a received packet of a VLAN that is in use one of the VLAN's port. A tag of another VLAN is put back where the driver had taken
/// it off, for the pipeline to drop the packet.
#[inline(always)]
pub fn untag(packet: &mut Packet, vlans: &[Vlan]) {
    if packet.mbuf().vlan_tag().is_some() || packet.mbuf().data().get(12..14) == Some(&ETHERTYPE) {
        untag_tagged(packet, vlans);
    }
}

#[cold]
fn untag_tagged(packet: &mut Packet, vlans: &[Vlan]) {
    let port = packet.mbuf().port().map_or(u8::MAX, |port| port.index() as u8);
    let taken_off = packet.mbuf().vlan_tag();
    let in_frame = packet.mbuf().data().get(14..16).map(|tag| u16::from_be_bytes([tag[0], tag[1]]));
    let Some(tag) = taken_off.or(in_frame) else { return };
    packet.mbuf_mut().forget_vlan_tag();
    // A tag with no VLAN tells a priority only.
    let known = tag & ID == 0 || vlans.iter().any(|vlan| (vlan.parent, vlan.id) == (port, tag & ID));
    if !known {
        if taken_off.is_some() {
            let _ = tag_frame(packet, tag);
        }
        return;
    }
    if taken_off.is_none() {
        packet.mbuf_mut().data_mut().copy_within(0..12, 4);
        let _ = packet.mbuf_mut().trim_front(4);
    }
    if let Some(vlan) = vlans.iter().find(|vlan| (vlan.parent, vlan.id) == (port, tag & ID)) {
        packet.mbuf_mut().set_port(vlan.port.into());
    }
}

/// Puts a VLAN's tag on. False, and nothing has changed, if the buffer has no room for it.
#[must_use = "false means that there is no tag"]
pub fn tag_frame(packet: &mut Packet, tag: u16) -> bool {
    let mbuf = packet.mbuf_mut();
    if mbuf.len() < 14 || mbuf.prepend(4).is_none() {
        return false;
    }
    let data = mbuf.data_mut();
    data.copy_within(4..16, 0);
    data[12..14].copy_from_slice(&ETHERTYPE);
    data[14..16].copy_from_slice(&tag.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn vlans_are_named_and_numbered() {
        assert_eq!(
            VlanOption::parse("v100=p0:100"),
            Ok(VlanOption { name: "v100".into(), parent: "p0".into(), id: 100 })
        );
        for bad in ["v100", "v100=p0", "v100=p0:0", "v100=p0:4095", "V=p0:1", "=p0:1", "v=p0:x"] {
            assert!(VlanOption::parse(bad).is_err(), "{bad}");
        }
        let options = |vlans: &[&str]| {
            let vlans = vlans.iter().flat_map(|vlan| ["--vlan", vlan]);
            Options::parse_from(["leat-dp", "--port", "p0=net_null0"].into_iter().chain(vlans))
        };
        let of = |vlans: &[&str]| Vlan::of(&options(vlans), &["p0", "p1"]);
        let expected = [Vlan { port: 2, parent: 1, id: 7 }, Vlan { port: 3, parent: 0, id: 7 }];
        assert_eq!(of(&["a=p1:7", "b=p0:7"]).expect("two VLANs"), expected);
        assert!(of(&["a=p2:7"]).unwrap_err().to_string().contains("the ports are p0, p1"));
        assert!(of(&["a=p1:7", "b=p1:7"]).unwrap_err().to_string().contains("already"));
    }
}
