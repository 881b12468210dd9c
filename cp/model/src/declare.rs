//! From a document of what there shall be to the commands that make it so, and back.
//!
//! Each aspect of each resource is set as the document has it; commands that change nothing are left out. The commands are tried on a
//! copy of the configuration, so that what is planned can be carried out: as one change, all or nothing.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::error::{Code, Error};
use crate::ids::Id;
use crate::inventory;
use crate::model::{Command, Model, Now};
use crate::resource::{LoadBalancer, TargetGroup};
use crate::rest::{
    self, CreateListener, CreateLoadBalancer, CreateTargetGroup, DeclaredLoadBalancer, DeclaredTargetGroup, Document,
    PlannedChange, Tags, TargetSpec,
};

/// What a document asks for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What differs, in words.
    pub changes: Vec<PlannedChange>,
    /// The commands, in their order.
    pub commands: Vec<Command>,
}

impl Model {
    /// What has to change so that the configuration is what a document says. `prune`: load balancers and target groups that it does
    /// not name are deleted. `id` draws ids at random.
    ///
    /// # Errors
    /// The document asks for what is not allowed, or for another value of what cannot be changed; the field is named.
    pub fn plan(&self, document: &Document, prune: bool, now: Now, id: impl FnMut() -> Id) -> Result<Plan, Error> {
        let mut planner = Planner { model: self.clone(), now, id, changes: Vec::new(), commands: Vec::new() };
        planner.document(document, prune)?;
        Ok(Plan { changes: planner.changes, commands: planner.commands })
    }

    /// The configuration as a document; applied to itself, it changes nothing.
    pub fn document(&self) -> Document {
        let groups = self.target_groups().filter(|group| group.classic.is_none());
        let balancers = self.load_balancers().filter(|lb| lb.classic.is_none());
        let mut document = Document {
            inventory: Some(self.show_inventory()),
            target_groups: groups.map(|group| self.declared_group(group)).collect(),
            load_balancers: balancers.map(|lb| self.declared_balancer(lb)).collect(),
        };
        document.target_groups.sort_by(|a, b| a.group.name.cmp(&b.group.name));
        document.load_balancers.sort_by(|a, b| a.load_balancer.name.cmp(&b.load_balancer.name));
        document
    }

    fn declared_group(&self, group: &TargetGroup) -> DeclaredTargetGroup {
        let shown = self.show_target_group(group);
        let check = shown.health_check;
        let registered = self.targets_of(group.id).filter(|target| target.is_registered());
        let by_selector = !group.selector.is_empty();
        let targets = registered.map(|target| TargetSpec {
            id: target.name.clone().unwrap_or_else(|| target.address.to_string()),
            port: Some(target.port.into()),
            zone: target.zone.clone(),
        });
        let mut targets: Vec<TargetSpec> = targets.collect();
        // An application load balancer is one target, whatever its addresses.
        targets.dedup();
        DeclaredTargetGroup {
            group: CreateTargetGroup {
                name: shown.name,
                protocol: shown.protocol,
                port: shown.port.into(),
                target_type: shown.target_type,
                ip_address_type: shown.ip_address_type,
                health_check: explicit(&check),
                network: shown.network,
                protocol_version: shown.protocol_version,
                selector: shown.selector,
                attributes: group.attributes.clone(),
                tags: shown.tags,
            },
            targets: (!by_selector).then_some(targets),
        }
    }

    fn declared_balancer(&self, lb: &LoadBalancer) -> DeclaredLoadBalancer {
        let in_subnets = lb.network.is_some();
        let node = |node: &crate::resource::Node| rest::NodeSpec {
            zone: node.zone.clone(),
            address: node.address.to_string(),
            ipv6_address: node.ipv6_address.map(|address| address.to_string()),
            secondary_addresses: node.secondary_addresses.iter().map(ToString::to_string).collect(),
        };
        let mapping = |node: &crate::resource::Node| rest::SubnetMapping {
            subnet: node.subnet.clone().unwrap_or_default(),
            allocation_id: node.static_address.as_ref().map(|it| it.allocation_id.clone()),
            ..rest::SubnetMapping::default()
        };
        let listener = |listener: &crate::resource::Listener| CreateListener {
            protocol: listener.protocol,
            port: listener.port.into(),
            target_group: self.target_group(listener.target_group).map_or_else(String::new, |group| group.name.clone()),
            certificate: listener.certificates.first().cloned(),
            ssl_policy: listener.ssl_policy.clone(),
            alpn_policy: listener.alpn_policy.clone(),
            tags: listener.tags.clone(),
        };
        DeclaredLoadBalancer {
            load_balancer: CreateLoadBalancer {
                name: lb.name.clone(),
                scheme: Some(lb.scheme),
                ip_address_type: Some(lb.ip_address_type),
                nodes: if in_subnets { Vec::new() } else { lb.nodes.iter().map(node).collect() },
                subnet_mappings: if in_subnets { lb.nodes.iter().map(mapping).collect() } else { Vec::new() },
                attributes: lb.attributes.clone(),
                tags: lb.tags.clone(),
                ..CreateLoadBalancer::default()
            },
            listeners: Some(self.listeners_of(lb.id).map(listener).collect()),
        }
    }
}

struct Planner<F> {
    model: Model,
    now: Now,
    id: F,
    changes: Vec<PlannedChange>,
    commands: Vec<Command>,
}

impl<F: FnMut() -> Id> Planner<F> {
    fn document(&mut self, document: &Document, prune: bool) -> Result<(), Error> {
        if let Some(inventory) = &document.inventory {
            let change = inventory::Change::Put(inventory.clone());
            self.step("modify", "inventory", Command::Inventory(change), |model| json(&model.show_inventory()))
                .map_err(|error| below("inventory", error))?;
        }
        unique("targetGroups", document.target_groups.iter().map(|it| it.group.name.as_str()))?;
        unique("loadBalancers", document.load_balancers.iter().map(|it| it.load_balancer.name.as_str()))?;
        for (at, declared) in document.target_groups.iter().enumerate() {
            self.group(declared).map_err(|error| below(&format!("targetGroups[{at}]"), error))?;
        }
        if prune {
            self.prune_balancers(document)?;
        }
        for (at, declared) in document.load_balancers.iter().enumerate() {
            self.balancer(declared).map_err(|error| below(&format!("loadBalancers[{at}]"), error))?;
        }
        if prune { self.prune_groups(document) } else { Ok(()) }
    }

    fn group(&mut self, declared: &DeclaredTargetGroup) -> Result<(), Error> {
        let (wanted, name) = (&declared.group, &declared.group.name);
        let resource = format!("target group {name}");
        let show = |model: &Model| {
            model.find_target_group(name).ok().map_or(Value::Null, |it| json(&model.show_target_group(it)))
        };
        if self.model.find_target_group(name).is_err() {
            let command = Command::CreateTargetGroup { request: wanted.clone(), id: (self.id)() };
            self.step("create", &resource, command, show)?;
        } else {
            let default = self.alone(Command::CreateTargetGroup { request: wanted.clone(), id: Id(0) })?;
            let default = default.find_target_group(name)?;
            let group = self.model.find_target_group(name)?;
            let arn = self.model.show_target_group(group).arn;
            let fixed = [
                ("protocol", group.protocol == default.protocol),
                ("port", group.port == default.port),
                ("targetType", group.target_type == default.target_type),
                ("ipAddressType", group.ip_address_type == default.ip_address_type),
                ("network", wanted.network.is_none() || group.network == default.network),
            ];
            cannot_change(&resource, &fixed)?;
            let tags = group.tags.clone();
            let request = rest::ModifyTargetGroup {
                health_check: explicit(&default.health_check),
                selector: Some(wanted.selector.clone()),
            };
            let attributes = self.model_attributes(default);
            self.step("modify", &resource, Command::ModifyTargetGroup { target_group: name.clone(), request }, show)?;
            if !attributes.is_empty() {
                let command = Command::ModifyAttributes { target_group: name.clone(), attributes };
                self.step("modify", &resource, command, show)?;
            }
            self.tags(&resource, arn, &tags, &wanted.tags, show)?;
        }
        match &declared.targets {
            Some(targets) => self.targets(&resource, name, targets),
            None => Ok(()),
        }
    }

    /// All attributes of a group that can be set.
    fn model_attributes(&self, group: &TargetGroup) -> rest::Attributes {
        match group.target_type {
            rest::TargetType::Alb => rest::Attributes::new(),
            _ => crate::attributes::all(&group.attributes, group.protocol, group.target_type),
        }
    }

    fn targets(&mut self, resource: &str, group: &str, wanted: &[TargetSpec]) -> Result<(), Error> {
        let list = |model: &Model| {
            let group = model.find_target_group(group).ok();
            let targets = group.into_iter().flat_map(|group| model.targets_of(group.id));
            let registered = targets.filter(|target| target.is_registered());
            registered
                .map(|it| (it.name.clone().unwrap_or_else(|| it.address.to_string()), it.port))
                .collect::<BTreeSet<_>>()
        };
        let show = |model: &Model| {
            json(&list(model).iter().map(|(id, port)| format!("{id} port {port}")).collect::<BTreeSet<_>>())
        };
        let port = self.model.find_target_group(group)?.port;
        if !wanted.is_empty() {
            let command = Command::RegisterTargets { target_group: group.to_owned(), targets: wanted.to_vec() };
            self.step("modify", &format!("targets of {resource}"), command, show)?;
        }
        let named: BTreeSet<(String, u16)> = wanted
            .iter()
            .map(|it| (it.id.clone(), it.port.and_then(|port| u16::try_from(port).ok()).unwrap_or(port)))
            .collect();
        let extra = list(&self.model).into_iter().filter(|target| !named.contains(target));
        let extra: Vec<TargetSpec> =
            extra.map(|(id, port)| TargetSpec { id, port: Some(port.into()), zone: None }).collect();
        if extra.is_empty() {
            return Ok(());
        }
        let command = Command::DeregisterTargets { target_group: group.to_owned(), targets: extra };
        self.step("modify", &format!("targets of {resource}"), command, show)
    }

    fn balancer(&mut self, declared: &DeclaredLoadBalancer) -> Result<(), Error> {
        let (wanted, name) = (&declared.load_balancer, &declared.load_balancer.name);
        let resource = format!("load balancer {name}");
        let show = |model: &Model| {
            model.find_load_balancer(name).ok().map_or(Value::Null, |it| {
                let mut shown = json(&model.show_load_balancer(it));
                shown["attributes"] = json(&model.load_balancer_attributes(it));
                shown
            })
        };
        if self.model.find_load_balancer(name).is_err() {
            let command = Command::CreateLoadBalancer { request: wanted.clone(), id: (self.id)() };
            self.step("create", &resource, command, show)?;
        } else {
            let lb = self.model.find_load_balancer(name)?;
            let arn = self.model.show_load_balancer(lb).arn;
            cannot_change(&resource, &[("scheme", lb.scheme == wanted.scheme.unwrap_or_default())])?;
            let (tags, mut attributes) = (lb.tags.clone(), self.model.load_balancer_attributes(lb));
            let default = LoadBalancer { attributes: rest::Attributes::new(), ..lb.clone() };
            attributes.extend(self.model.load_balancer_attributes(&default));
            attributes.extend(wanted.attributes.clone());
            let node = |node: &rest::NodeSpec| rest::NodeChange {
                zone: node.zone.clone(),
                address: Some(node.address.clone()),
                ipv6_address: node.ipv6_address.clone(),
                secondary_addresses: Some(node.secondary_addresses.clone()),
            };
            let request = rest::ModifyLoadBalancer {
                ip_address_type: Some(wanted.ip_address_type.unwrap_or_default()),
                nodes: wanted.nodes.iter().map(node).collect(),
                subnets: wanted.subnets.clone(),
                subnet_mappings: wanted.subnet_mappings.clone(),
            };
            let load_balancer = || name.clone();
            self.step(
                "modify",
                &resource,
                Command::ModifyLoadBalancer { load_balancer: load_balancer(), request },
                show,
            )?;
            let command = Command::ModifyLoadBalancerAttributes { load_balancer: load_balancer(), attributes };
            self.step("modify", &resource, command, show)?;
            self.tags(&resource, arn, &tags, &wanted.tags, show)?;
        }
        match &declared.listeners {
            Some(listeners) => self.listeners(name, listeners),
            None => Ok(()),
        }
    }

    fn listeners(&mut self, lb: &str, wanted: &[CreateListener]) -> Result<(), Error> {
        let id = self.model.find_load_balancer(lb)?.id;
        let there: Vec<u16> = self.model.listeners_of(id).map(|listener| listener.port).collect();
        let kept: BTreeSet<i64> = wanted.iter().map(|listener| listener.port).collect();
        for port in there.iter().filter(|port| !kept.contains(&i64::from(**port))) {
            let command = Command::DeleteListener { load_balancer: lb.to_owned(), port: *port };
            self.step("delete", &format!("listener {port} of load balancer {lb}"), command, |_| Value::Null)?;
        }
        for (at, listener) in wanted.iter().enumerate() {
            self.listener(lb, listener).map_err(|error| below(&format!("listeners[{at}]"), error))?;
        }
        Ok(())
    }

    fn listener(&mut self, lb: &str, wanted: &CreateListener) -> Result<(), Error> {
        let resource = format!("listener {} of load balancer {lb}", wanted.port);
        let port = crate::check::port("port", wanted.port)?;
        let show =
            |model: &Model| model.find_listener(lb, port).ok().map_or(Value::Null, |it| json(&model.show_listener(it)));
        let load_balancer = lb.to_owned();
        let Ok(there) = self.model.find_listener(lb, port) else {
            let command = Command::CreateListener { load_balancer, request: wanted.clone(), id: (self.id)() };
            return self.step("create", &resource, command, show);
        };
        let (arn, tags) = (self.model.listener_arn(there), there.tags.clone());
        let request = rest::ModifyListener {
            protocol: Some(wanted.protocol),
            target_group: Some(wanted.target_group.clone()),
            certificate: wanted.certificate.clone(),
            ssl_policy: wanted.ssl_policy.clone(),
            alpn_policy: wanted.alpn_policy.clone(),
            ..rest::ModifyListener::default()
        };
        self.step("modify", &resource, Command::ModifyListener { load_balancer, port, request }, show)?;
        self.tags(&resource, arn, &tags, &wanted.tags, show)
    }

    fn tags(
        &mut self,
        resource: &str,
        arn: String,
        there: &Tags,
        wanted: &Tags,
        show: impl Fn(&Model) -> Value + Copy,
    ) -> Result<(), Error> {
        let gone: Vec<String> = there.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
        if !gone.is_empty() {
            self.step("modify", resource, Command::RemoveTags { resources: vec![arn.clone()], keys: gone }, show)?;
        }
        let new: Vec<(String, String)> = wanted.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        if new.is_empty() || wanted == there {
            return Ok(());
        }
        self.step("modify", resource, Command::AddTags { resources: vec![arn], tags: new }, show)
    }

    fn prune_balancers(&mut self, document: &Document) -> Result<(), Error> {
        let named: BTreeSet<&str> = document.load_balancers.iter().map(|it| it.load_balancer.name.as_str()).collect();
        let extra = self.model.load_balancers().filter(|lb| lb.classic.is_none() && !named.contains(lb.name.as_str()));
        let extra: Vec<String> = extra.map(|lb| lb.name.clone()).collect();
        for load_balancer in extra {
            let resource = format!("load balancer {load_balancer}");
            self.step("delete", &resource, Command::DeleteLoadBalancer { load_balancer }, |_| Value::Null)?;
        }
        Ok(())
    }

    fn prune_groups(&mut self, document: &Document) -> Result<(), Error> {
        let named: BTreeSet<&str> = document.target_groups.iter().map(|it| it.group.name.as_str()).collect();
        let groups = self.model.target_groups();
        let extra = groups.filter(|group| group.classic.is_none() && !named.contains(group.name.as_str()));
        let extra: Vec<String> = extra.map(|group| group.name.clone()).collect();
        for target_group in extra {
            let resource = format!("target group {target_group}");
            self.step("delete", &resource, Command::DeleteTargetGroup { target_group }, |_| Value::Null)?;
        }
        Ok(())
    }

    /// A model with the inventory and certificates and what one command makes: how a resource is with all its defaults.
    fn alone(&self, command: Command) -> Result<Model, Error> {
        let mut model = Model::new(self.model.site.clone(), self.model.limits, self.model.meta.selection_key);
        model.inventory = self.model.inventory.clone();
        model.certificates = self.model.certificates.clone();
        model.apply(command, self.now)?;
        Ok(model)
    }

    /// Tries a command, and plans it if it changes something. Changes of one resource that follow one another are told as one.
    fn step(
        &mut self,
        action: &str,
        resource: &str,
        command: Command,
        show: impl Fn(&Model) -> Value,
    ) -> Result<(), Error> {
        let mut next = self.model.clone();
        if next.apply(command.clone(), self.now)?.changed.is_empty() {
            return Ok(());
        }
        let mut details = Vec::new();
        if action == "modify" {
            differences("", &show(&self.model), &show(&next), &mut details);
        }
        self.model = next;
        self.commands.push(command);
        match self.changes.last_mut().filter(|last| last.resource == resource && last.action == action) {
            Some(last) => last.details.extend(details),
            None => self.changes.push(PlannedChange { action: action.into(), resource: resource.into(), details }),
        }
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// All settings of health checks, so that nothing of the old ones stays.
fn explicit(check: &rest::HealthCheck) -> rest::ModifyHealthCheck {
    // An empty text takes away what was there.
    let option = |has_it: bool, value: &Option<String>| has_it.then(|| value.clone().unwrap_or_default());
    let has_requests = check.protocol != rest::HealthCheckProtocol::Tcp;
    let has_tls = check.protocol == rest::HealthCheckProtocol::Https;
    rest::ModifyHealthCheck {
        protocol: Some(check.protocol),
        port: Some(check.port),
        interval_seconds: Some(check.interval_seconds.into()),
        timeout_seconds: Some(check.timeout_seconds.into()),
        healthy_threshold_count: Some(check.healthy_threshold_count.into()),
        unhealthy_threshold_count: Some(check.unhealthy_threshold_count.into()),
        path: check.path.clone(),
        matcher: check.matcher.clone(),
        host: option(has_requests, &check.host),
        server_name: option(has_tls, &check.server_name),
        body_contains: option(has_requests, &check.body_contains),
    }
}

fn cannot_change(resource: &str, fixed: &[(&str, bool)]) -> Result<(), Error> {
    match fixed.iter().find(|(_, same)| !same) {
        None => Ok(()),
        Some((field, _)) => {
            let message =
                format!("the {field} of {resource} cannot be changed; delete it first, or choose another name");
            Err(Error::at(Code::InvalidConfigurationRequest, *field, message))
        }
    }
}

fn unique<'n>(field: &str, names: impl Iterator<Item = &'n str>) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for (at, name) in names.enumerate() {
        if !seen.insert(name) {
            return Err(Error::invalid(format!("{field}[{at}].name"), format!("{name} is named twice")));
        }
    }
    Ok(())
}

/// An error of a part, with the path to it.
fn below(path: &str, error: Error) -> Error {
    let field = error.field.map_or_else(|| path.to_owned(), |field| format!("{path}.{field}"));
    Error { field: Some(field), ..error }
}

/// What differs between two values, as `path: old → new`.
fn differences(path: &str, old: &Value, new: &Value, to: &mut Vec<String>) {
    match (old, new) {
        (old, new) if old == new => {}
        (Value::Object(old), Value::Object(new)) => {
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                let value = |object: &serde_json::Map<String, Value>| object.get(key).cloned().unwrap_or_default();
                differences(&path, &value(old), &value(new), to);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let dot = if path.is_empty() { String::new() } else { format!("{path}: ") };
            to.extend(old.iter().filter(|value| !new.contains(value)).map(|value| format!("{dot}- {}", text(value))));
            to.extend(new.iter().filter(|value| !old.contains(value)).map(|value| format!("{dot}+ {}", text(value))));
        }
        (old, new) => to.push(format!("{path}: {old} → {new}")),
    }
}
