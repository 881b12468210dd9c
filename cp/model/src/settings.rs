//! Attributes of load balancers and listeners, deletion protection, and the certificates of listeners.

use crate::attributes::{DELETION_PROTECTION, Subject};
use crate::error::{Code, Error, Shown};
use crate::ids;
use crate::model::{Effects, Model, RecordKey};
use crate::resource::{Listener, LoadBalancer};
use crate::rest::{Attributes, PortRole, Protocol};

impl LoadBalancer {
    /// What its attributes depend on.
    pub fn subject(&self) -> Subject {
        Subject::LoadBalancer(self.scheme)
    }
}

impl Listener {
    /// What its attributes depend on.
    pub fn subject(&self) -> Subject {
        Subject::Listener(self.protocol)
    }
}

impl Model {
    /// All attributes of a load balancer with the values that count.
    pub fn load_balancer_attributes(&self, lb: &LoadBalancer) -> Attributes {
        lb.subject().all(&lb.attributes)
    }

    /// All attributes of a listener with the values that count.
    pub fn listener_attributes(&self, listener: &Listener) -> Attributes {
        listener.subject().all(&listener.attributes)
    }

    pub(crate) fn modify_load_balancer_attributes(
        &mut self,
        fx: &mut Effects,
        wanted: &str,
        changes: Attributes,
    ) -> Result<(), Error> {
        let lb = self.find_load_balancer(wanted)?;
        let (id, attributes) = (lb.id, lb.subject().changed(&lb.attributes, &changes)?);
        fx.id = Some(id);
        if let Some(lb) = self.load_balancers.get_mut(&id).filter(|lb| lb.attributes != attributes) {
            lb.attributes = attributes;
            fx.touch(RecordKey::LoadBalancer(id));
            self.check_shift_goes_on(id)?;
            // Across zones an application load balancer counts as more targets (ALBT-06).
            self.check_load_balancer_targets(id)?;
            self.agree_on_targets(fx, id);
        }
        Ok(())
    }

    pub(crate) fn modify_listener_attributes(
        &mut self,
        fx: &mut Effects,
        load_balancer: &str,
        port: u16,
        changes: Attributes,
    ) -> Result<(), Error> {
        let listener = self.find_listener(load_balancer, port)?;
        let key = (listener.load_balancer, listener.port);
        let attributes = listener.subject().changed(&listener.attributes, &changes)?;
        fx.id = Some(listener.id);
        if let Some(listener) = self.listeners.get_mut(&key).filter(|listener| listener.attributes != attributes) {
            listener.attributes = attributes;
            fx.touch(RecordKey::Listener(key.0, key.1));
        }
        Ok(())
    }

    /// Whether a load balancer may be deleted.
    ///
    /// # Errors
    /// [`Code::OperationNotPermitted`]: it is protected (DEL-01). [`Code::ResourceInUse`]: clients of an endpoint come to it
    /// (LB-17).
    pub(crate) fn check_deletion(&self, lb: &LoadBalancer) -> Result<(), Error> {
        if lb.subject().value(&lb.attributes, DELETION_PROTECTION) == "true" {
            let message = format!(
                "Load balancer '{}' cannot be deleted because deletion protection is enabled; set {DELETION_PROTECTION} to false first",
                ids::load_balancer_arn(&self.site, &lb.name, lb.id)
            );
            return Err(Error::new(Code::OperationNotPermitted, message));
        }
        let is_endpoint = |port: &&str| {
            self.site.endpoints.iter().any(|(name, _)| name == port)
                || self.inventory.ports.get(*port).is_some_and(|port| port.role == PortRole::Endpoint)
        };
        let ports = lb.nodes.iter().flat_map(|node| node.addresses()).filter_map(|address| self.port_of(address));
        if let Some(port) = ports.into_iter().find(is_endpoint) {
            let message = format!(
                "load balancer {} is used by clients of the endpoint on port {port}; take the endpoint away first",
                Shown(&lb.name)
            );
            return Err(Error::new(Code::ResourceInUse, message));
        }
        Ok(())
    }

    /// A certificate that a listener may have.
    pub(crate) fn check_certificate(&self, field: &str, arn: &str) -> Result<(), Error> {
        match self.certificate(arn) {
            Some(_) => Ok(()),
            None => {
                let message =
                    format!("Certificate '{}' not found: the certificate store has none of this ARN", Shown(arn));
                Err(Error::at(Code::CertificateNotFound, field, message.replace(['"'], "")))
            }
        }
    }

    fn tls_listener(&self, load_balancer: &str, port: u16) -> Result<&Listener, Error> {
        let listener = self.find_listener(load_balancer, port)?;
        if listener.protocol == Protocol::Tls {
            return Ok(listener);
        }
        let message =
            format!("the listener on port {port} has protocol {}; only TLS has certificates", listener.protocol);
        Err(Error::new(Code::InvalidConfigurationRequest, message))
    }

    /// Adds certificates to a listener's list; what is in it stays so (TLS-03). The default one may be in the list as well
    /// (TLS-04).
    pub(crate) fn add_listener_certificates(
        &mut self,
        fx: &mut Effects,
        load_balancer: &str,
        port: u16,
        certificates: &[String],
    ) -> Result<(), Error> {
        let mut listener = self.tls_listener(load_balancer, port)?.clone();
        for (at, arn) in certificates.iter().enumerate() {
            self.check_certificate(&format!("certificates[{at}]"), arn)?;
            if !listener.certificates.iter().skip(1).any(|known| known == arn) {
                listener.certificates.push(arn.clone());
            }
        }
        let lb = listener.load_balancer;
        self.put_settings(fx, listener);
        // Default ones are not counted (QTA-01).
        let lists = self.listeners_of(lb).map(|listener| listener.certificates.len().saturating_sub(1));
        self.limits.certificates(lists.sum())
    }

    /// Removes certificates from a listener's list; those that are not in it are passed over.
    pub(crate) fn remove_listener_certificates(
        &mut self,
        fx: &mut Effects,
        load_balancer: &str,
        port: u16,
        certificates: &[String],
    ) -> Result<(), Error> {
        let mut listener = self.tls_listener(load_balancer, port)?.clone();
        for (at, arn) in certificates.iter().enumerate() {
            match listener.certificates.iter().skip(1).position(|known| known == arn) {
                Some(place) => drop(listener.certificates.remove(place + 1)),
                None if listener.certificates.first() == Some(arn) => {
                    let message = format!(
                        "{} is the default certificate of the listener on port {port}, which cannot be removed; replace it",
                        Shown(arn)
                    );
                    return Err(Error::at(Code::OperationNotPermitted, format!("certificates[{at}]"), message));
                }
                None => {}
            }
        }
        self.put_settings(fx, listener);
        Ok(())
    }

    fn put_settings(&mut self, fx: &mut Effects, listener: Listener) {
        let key = (listener.load_balancer, listener.port);
        fx.id = Some(listener.id);
        if self.listeners.get(&key) != Some(&listener) {
            self.listeners.insert(key, listener);
            fx.touch(RecordKey::Listener(key.0, key.1));
        }
    }
}
