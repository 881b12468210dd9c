//! Network interfaces of load balancers, one for each node (ZN-11). They are shown and belong to their load balancers: nobody else
//! can change them. Network address translation and filters outside know nodes by them.

use crate::error::{Code, Error, Shown};
use crate::ids;
use crate::model::Model;
use crate::resource::{LoadBalancer, Node};
use crate::rest;

impl Model {
    /// The interfaces of all load balancers that are shown, by load balancer and in the order in which their zones came.
    pub fn interfaces(&self) -> Vec<rest::Interface> {
        let own = self.load_balancers().filter(|lb| lb.classic.is_none());
        own.flat_map(|lb| lb.nodes.iter().enumerate().map(|(at, node)| self.interface_of(lb, at, node))).collect()
    }

    fn interface_of(&self, lb: &LoadBalancer, at: usize, node: &Node) -> rest::Interface {
        rest::Interface {
            // Zones come and never go, so that the place in the list stays. 17 digits, as AWS's have.
            id: format!("eni-{}{at:x}", lb.id),
            description: format!("ELB net/{}/{}", lb.name, lb.id),
            load_balancer_arn: ids::load_balancer_arn(&self.site, &lb.name, lb.id),
            zone: node.zone.clone(),
            subnet: node.subnet.clone(),
            network: lb.network.clone(),
            private_ipv4_address: node.address,
            addresses: node.all_addresses().collect(),
        }
    }

    /// Why an interface cannot be changed.
    pub fn refuse_interface_change(&self, id: &str) -> Error {
        match self.interfaces().into_iter().find(|interface| interface.id == id) {
            Some(interface) => {
                let message = format!(
                    "the interface {id} ({}) belongs to its load balancer and cannot be changed; change the load balancer",
                    interface.description
                );
                Error::new(Code::OperationNotPermitted, message)
            }
            None => Error::new(Code::NetworkInterfaceNotFound, format!("there is no network interface {}", Shown(id))),
        }
    }
}
