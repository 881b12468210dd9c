//! Rules of load balancers (LB, ZN).

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::check;
use crate::error::{Code, Error, Shown};
use crate::ids::Id;
use crate::model::{Effects, Model, Now, RecordKey};
use crate::resource::LoadBalancer;
use crate::rest;

impl Model {
    pub(crate) fn create_load_balancer(
        &mut self,
        fx: &mut Effects,
        request: rest::CreateLoadBalancer,
        id: Id,
        now: Now,
    ) -> Result<(), Error> {
        check::load_balancer_name("name", &request.name)?;
        let [node] = &request.nodes[..] else {
            let message = format!("{} nodes were given; a load balancer has exactly one for now", request.nodes.len());
            return Err(Error::invalid("nodes", message));
        };
        check::name("nodes[0].zone", &node.zone)?;
        let address = check::ipv4(Code::ValidationError, "nodes[0].address", &node.address)?;
        let scheme = request.scheme.unwrap_or_default();

        if let Some(old) = self.load_balancers.values().find(|lb| lb.name == request.name) {
            if (old.scheme, &old.zone, old.address) == (scheme, &node.zone, address) {
                fx.id = Some(old.id);
                return Ok(());
            }
            let message = format!(
                "a load balancer {} exists with other settings; choose another name, or delete it first",
                Shown(&request.name)
            );
            return Err(Error::at(Code::DuplicateLoadBalancerName, "name", message));
        }
        self.limits.load_balancers(self.load_balancers.len() + 1)?;
        self.check_node_address(address)?;
        let lb = LoadBalancer {
            id,
            name: request.name,
            scheme,
            created_ms: now.wall_ms,
            zone: node.zone.clone(),
            address,
            active: false,
        };
        self.load_balancers.insert(id, lb);
        fx.touch(RecordKey::LoadBalancer(id));
        fx.id = Some(id);
        Ok(())
    }

    /// The address must be a host's of a port's subnet (ZN-06), and nobody else's.
    fn check_node_address(&self, address: Ipv4Addr) -> Result<(), Error> {
        const FIELD: &str = "nodes[0].address";
        let [first, ..] = address.octets();
        if matches!(first, 0 | 127 | 224..) || address.is_link_local() {
            return Err(Error::invalid(
                FIELD,
                format!("{address} cannot be the address of a node; give a unicast address"),
            ));
        }
        if let Some(other) = self.load_balancers.values().find(|lb| lb.address == address) {
            let message = format!("{address} is the address of load balancer {}; give another one", Shown(&other.name));
            return Err(Error::at(Code::InvalidConfigurationRequest, FIELD, message));
        }
        if let Some((port, _)) = self.site.subnets.iter().find(|(_, net)| net.addr() == address) {
            let message = format!("{address} is this host's own address on port {port}; give another one");
            return Err(Error::at(Code::InvalidConfigurationRequest, FIELD, message));
        }
        if self.site.subnets.is_empty() || self.site.subnets.iter().any(|(_, net)| check::is_host_of(*net, address)) {
            return Ok(());
        }
        let subnets: Vec<String> =
            self.site.subnets.iter().map(|(port, net)| format!("{} ({port})", net.trunc())).collect();
        let message = format!(
            "{address} is not a host's address in a subnet of a port; the subnets are {}. \
             Give an address of one of these, or add the subnet to a port's addresses",
            subnets.join(", ")
        );
        Err(Error::at(Code::InvalidSubnet, FIELD, message))
    }

    pub(crate) fn delete_load_balancer(&mut self, fx: &mut Effects, wanted: &str) {
        let Ok(lb) = self.find_load_balancer(wanted) else { return };
        let id = lb.id;
        let ports: Vec<u16> = self.listeners_of(id).map(|listener| listener.port).collect();
        for port in ports {
            self.remove_listener(fx, id, port);
        }
        self.withdraw_targets(fx, id);
        self.load_balancers.remove(&id);
        fx.touch(RecordKey::LoadBalancer(id));
    }

    pub(crate) fn activate(&mut self, fx: &mut Effects, ids: &[Id]) {
        for id in ids {
            if let Some(lb) = self.load_balancers.get_mut(id).filter(|lb| !lb.active) {
                lb.active = true;
                fx.touch(RecordKey::LoadBalancer(*id));
            }
        }
    }

    /// The port in whose subnet an address is: the longest prefix counts.
    pub fn port_of(&self, address: Ipv4Addr) -> Option<&str> {
        let containing = self.site.subnets.iter().filter(|(_, net)| net.contains(&address));
        // The first of equally long ones.
        let longest = containing.rev().max_by_key(|(_, net): &&(String, Ipv4Net)| net.prefix_len());
        longest.map(|(port, _)| port.as_str())
    }
}
