//! Keeping the kernel away from interfaces whose frames DPDK takes through the af_packet driver.
//!
//! The kernel sees each frame as well. It must leave them alone: the addresses on the TAP twin are its own too, and it would answer SYNs
//! for listeners with resets. A strict reverse-path check drops what comes in by an interface that no route leads to, ARP is told
//! to be silent there, and IPv6 is turned off.

use std::path::PathBuf;

use anyhow::Context;

use crate::options::Options;

/// Settings of the kernel, and what they are while DPDK has the interface.
const SETTINGS: [(&str, &str, &str); 3] =
    [("ipv4", "rp_filter", "1"), ("ipv4", "arp_ignore", "8"), ("ipv6", "disable_ipv6", "1")];

/// Puts the settings back when it is dropped.
#[derive(Debug, Default)]
pub struct Silence {
    /// Files, and what they held.
    before: Vec<(PathBuf, String)>,
}

impl Silence {
    /// Changes the settings of every port's interface.
    pub fn impose(options: &Options) -> anyhow::Result<Self> {
        let mut silence = Self::default();
        for port in options.ports.iter().filter(|port| port.driver() == "net_af_packet") {
            let Some(interface) = port.interface() else { continue };
            for (family, name, value) in SETTINGS {
                let path = PathBuf::from(format!("/proc/sys/net/{family}/conf/{interface}/{name}"));
                // A kernel without IPv6 has nothing to be silenced.
                if family == "ipv6" && !path.exists() {
                    continue;
                }
                silence.set(path, value).with_context(|| {
                    format!("port {}: cannot keep the kernel away from {interface}; this takes root", port.name)
                })?;
            }
        }
        Ok(silence)
    }

    fn set(&mut self, path: PathBuf, value: &str) -> anyhow::Result<()> {
        let before = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        if before.trim() != value {
            std::fs::write(&path, value).with_context(|| format!("cannot set {} to {value}", path.display()))?;
            self.before.push((path, before));
        }
        Ok(())
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        for (path, value) in self.before.drain(..) {
            // The interface may be gone.
            if let Err(error) = std::fs::write(&path, value.trim()) {
                tracing::debug!("{} is not what it was before: {error}", path.display());
            }
        }
    }
}
