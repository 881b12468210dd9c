//! Rules of target groups and their attributes (TG, ATT, HC).

use crate::attributes::{self, Subject};
use crate::check;
use crate::error::{Code, Error, Shown};
use crate::health::Matcher;
use crate::ids::Id;
use crate::model::{Effects, Model, Now, RecordKey};
use crate::resource::{Registration, TargetGroup};
use crate::rest::{
    self, HealthCheck, HealthCheckPort, HealthCheckProtocol, ModifyHealthCheck, Protocol, TargetAddressType, TargetType,
};

impl TargetGroup {
    /// What its attributes depend on.
    pub fn subject(&self) -> Subject {
        Subject::TargetGroup(self.protocol, self.target_type)
    }
}

impl Model {
    pub(crate) fn create_target_group(
        &mut self,
        fx: &mut Effects,
        request: rest::CreateTargetGroup,
        id: Id,
        tenant: Option<&str>,
        now: Now,
    ) -> Result<(), Error> {
        check::name("name", &request.name)?;
        let port = check::port("port", request.port)?;
        check_kind(request.protocol, request.target_type, request.ip_address_type)?;
        check_protocol_version(request.protocol_version.as_deref())?;
        check_selector(request.target_type, &request.selector)?;
        self.check_tags(&request.tags)?;
        self.check_network(request.network.as_deref(), tenant)?;
        let health_check = merged(&request.health_check, None, request.protocol, request.target_type)?;
        let mut group = TargetGroup {
            id,
            name: request.name,
            protocol: request.protocol,
            port,
            target_type: request.target_type,
            ip_address_type: request.ip_address_type,
            health_check,
            attributes: rest::Attributes::new(),
            network: request.network,
            protocol_version: request.protocol_version,
            selector: request.selector,
            tags: request.tags,
            classic: None,
        };
        group.attributes = changed_attributes(&group, &request.attributes)?;
        if let Some(old) = self.target_groups.values().find(|old| old.name == group.name) {
            if same_settings(old, &group, &request.attributes) {
                fx.id = Some(old.id);
                return Ok(());
            }
            let message = format!(
                "A target group with the same name {} exists, but with different settings; choose another name, or change or \
                 delete that one",
                Shown(&group.name)
            );
            return Err(Error::at(Code::DuplicateTargetGroupName, "name", message));
        }
        self.limits.target_groups(self.target_groups.len() + 1)?;
        self.target_groups.insert(id, group);
        fx.touch(RecordKey::TargetGroup(id));
        fx.id = Some(id);
        self.follow_selector(fx, id, now)
    }

    /// The network of a group: one that is declared; AWS's API needs one, and so does this where any is declared. Only those who
    /// share the network may use it (TG-17).
    fn check_network(&self, network: Option<&str>, tenant: Option<&str>) -> Result<(), Error> {
        let networks = &self.inventory.networks;
        let Some(id) = network else {
            if networks.is_empty() {
                return Ok(());
            }
            let ids: Vec<&str> = networks.keys().map(String::as_str).collect();
            let message =
                format!("A VPC ID must be specified: the network that the targets are in, of {}", ids.join(", "));
            return Err(Error::invalid("network", message));
        };
        let Some(network) = networks.get(id) else {
            let message = format!("The VPC ID {} is not found: the inventory has no such network", Shown(id));
            return Err(Error::at(Code::InvalidConfigurationRequest, "network", message));
        };
        if !is_shared_with(network, tenant) {
            let message =
                format!("network {} is not shared with tenant {}", Shown(id), Shown(tenant.unwrap_or_default()));
            return Err(Error::at(Code::OperationNotPermitted, "network", message));
        }
        Ok(())
    }

    pub(crate) fn modify_target_group(
        &mut self,
        fx: &mut Effects,
        wanted: &str,
        request: &rest::ModifyTargetGroup,
        now: Now,
    ) -> Result<(), Error> {
        let old = self.find_target_group(wanted)?;
        let (id, mut group) = (old.id, old.clone());
        fx.id = Some(id);
        group.health_check =
            merged(&request.health_check, Some(&group.health_check), group.protocol, group.target_type)?;
        if let Some(selector) = &request.selector {
            check_selector(group.target_type, selector)?;
            group.selector.clone_from(selector);
        }
        if group == *old {
            return Ok(());
        }
        let other_checks = group.health_check.protocol != old.health_check.protocol;
        self.target_groups.insert(id, group);
        fx.touch(RecordKey::TargetGroup(id));
        if other_checks {
            // What checks of another kind have found says nothing any more.
            self.check_anew(fx, id, now);
        }
        self.follow_selector(fx, id, now)
    }

    pub(crate) fn modify_attributes(
        &mut self,
        fx: &mut Effects,
        wanted: &str,
        changes: rest::Attributes,
    ) -> Result<(), Error> {
        let group = self.find_target_group(wanted)?;
        let (id, attributes) = (group.id, changed_attributes(group, &changes)?);
        let sticky = group.subject().value(&attributes, attributes::STICKINESS) == "true";
        if sticky && self.listeners.values().any(|it| it.target_group == id && it.protocol == Protocol::Tls) {
            let field = format!("attributes[{}]", attributes::STICKINESS);
            let message = "sticky sessions are not supported with TLS listeners, and one forwards to this target group";
            return Err(Error::at(Code::InvalidConfigurationRequest, field, message));
        }
        fx.id = Some(id);
        if let Some(group) = self.target_groups.get_mut(&id).filter(|group| group.attributes != attributes) {
            group.attributes = attributes;
            fx.touch(RecordKey::TargetGroup(id));
            self.agree_on_group(fx, id);
        }
        self.user_of(id).map_or(Ok(()), |lb| self.check_shift_goes_on(lb))
    }

    pub(crate) fn delete_target_group(&mut self, fx: &mut Effects, wanted: &str) -> Result<(), Error> {
        let Ok(group) = self.find_target_group(wanted) else { return Ok(()) };
        let (id, name) = (group.id, &group.name);
        let network = self.user_of(id).and_then(|user| self.load_balancers.get(&user)).map(|lb| &lb.name);
        if let Some(lb) = network.or_else(|| self.application_of_group(id).map(|lb| &lb.name)) {
            // Terraform looks at the words of the first half.
            let message = format!(
                "Target group '{name}' is currently in use by a listener or a rule: those of load balancer {} forward to it; \
                 delete them or give them another group first",
                Shown(lb)
            );
            return Err(Error::new(Code::ResourceInUse, message));
        }
        self.remove_target_group(fx, id);
        Ok(())
    }

    /// Its targets go with it.
    pub(crate) fn remove_target_group(&mut self, fx: &mut Effects, id: Id) {
        let slots: Vec<u16> = self.targets_of(id).map(|target| target.slot).collect();
        for slot in slots {
            // Those that drain keep their deadlines.
            if let Some(target) = self.targets.get_mut(&slot).filter(|target| target.is_registered()) {
                target.registration = Registration::Gone { since_epoch: self.meta.epoch, terminate: false };
                fx.touch(RecordKey::Target(slot));
            }
        }
        self.target_groups.remove(&id);
        fx.touch(RecordKey::TargetGroup(id));
    }
}

/// Whether a group is what is asked for. Values that say the same are the same; attributes that are not named, and tags, do not
/// count.
fn same_settings(old: &TargetGroup, wanted: &TargetGroup, attributes: &rest::Attributes) -> bool {
    (old.protocol, old.port, old.target_type, old.ip_address_type, &old.health_check)
        == (wanted.protocol, wanted.port, wanted.target_type, wanted.ip_address_type, &wanted.health_check)
        && (&old.network, &old.protocol_version, &old.selector)
            == (&wanted.network, &wanted.protocol_version, &wanted.selector)
        && attributes.iter().all(|(key, value)| old.attribute(key) == value)
        && old.classic == wanted.classic
}

/// Whether somebody may have targets in a network: everybody's owner, who is no tenant, and those it is shared with.
pub(crate) fn is_shared_with(network: &rest::NetworkSpec, tenant: Option<&str>) -> bool {
    tenant.is_none_or(|tenant| network.tenants.is_empty() || network.tenants.iter().any(|known| known == tenant))
}

/// What a change makes of a group's attributes. Those of groups for an application load balancer are fixed (ATT-12).
fn changed_attributes(group: &TargetGroup, changes: &rest::Attributes) -> Result<rest::Attributes, Error> {
    let attributes = group.subject().changed(&group.attributes, changes)?;
    if group.target_type == TargetType::Alb && attributes != group.attributes {
        let message = "the attributes of target groups of type alb always have their default values";
        return Err(Error::at(Code::InvalidConfigurationRequest, "attributes", message));
    }
    Ok(attributes)
}

/// Which protocols go with which kinds of targets.
fn check_kind(protocol: Protocol, target_type: TargetType, addresses: TargetAddressType) -> Result<(), Error> {
    let wrong = |field, message: String| Err(Error::at(Code::InvalidConfigurationRequest, field, message));
    if target_type == TargetType::Alb && protocol != Protocol::Tcp {
        return wrong("protocol", format!("a target group of type alb has protocol TCP, not {protocol}"));
    }
    if addresses == TargetAddressType::Ipv6 {
        if target_type != TargetType::Ip {
            let message = format!("targets of type {} have IPv4 addresses; IPv6 needs type ip", target_type.name());
            return wrong("ipAddressType", message);
        }
        if protocol.has_udp() {
            let message = format!("a {protocol} target group has IPv4 addresses; IPv6 needs protocol TCP or TLS");
            return wrong("ipAddressType", message);
        }
    }
    Ok(())
}

const PROTOCOL_VERSIONS: [&str; 3] = ["HTTP1", "HTTP2", "GRPC"];

fn check_protocol_version(version: Option<&str>) -> Result<(), Error> {
    match version.filter(|version| !PROTOCOL_VERSIONS.contains(&version.to_ascii_uppercase().as_str())) {
        None => Ok(()),
        Some(bad) => {
            let message =
                format!("{} is not a protocol version; allowed are {}", Shown(bad), PROTOCOL_VERSIONS.join(", "));
            Err(Error::invalid("protocolVersion", message))
        }
    }
}

fn check_selector(target_type: TargetType, selector: &rest::Labels) -> Result<(), Error> {
    if !selector.is_empty() && target_type != TargetType::Instance {
        let message = "a selector chooses instances; the target group must be of type instance";
        return Err(Error::at(Code::InvalidConfigurationRequest, "selector", message));
    }
    Ok(())
}

/// Longest path of health checks (HC-03).
const PATH_CHARS_MAX: usize = 1024;
/// Longest Host header of theirs.
const HOST_CHARS_MAX: usize = 255;
/// Longest name of DNS.
const SERVER_NAME_CHARS_MAX: usize = 253;
/// Longest text that is looked for in answers.
const TEXT_BYTES_MAX: usize = 255;

/// The settings of health checks after a change; without old ones the defaults count.
fn merged(
    change: &ModifyHealthCheck,
    old: Option<&HealthCheck>,
    group: Protocol,
    target_type: TargetType,
) -> Result<HealthCheck, Error> {
    let given = |field: &str, value: Option<i64>, min, max, unit| {
        value.map(|value| check::number(&format!("healthCheck.{field}"), value, min, max, unit)).transpose()
    };
    let interval = given("intervalSeconds", change.interval_seconds, 5, 300, "seconds")?;
    let timeout = given("timeoutSeconds", change.timeout_seconds, 2, 120, "seconds")?;
    let healthy = given("healthyThresholdCount", change.healthy_threshold_count, 2, 10, "checks")?;
    let unhealthy = given("unhealthyThresholdCount", change.unhealthy_threshold_count, 2, 10, "checks")?;
    if let Some(HealthCheckPort::Port(port)) = change.port {
        check::port("healthCheck.port", port)?;
    }
    let requests_only = target_type == TargetType::Alb || group.is_application();
    let default = if requests_only { HealthCheckProtocol::Http } else { HealthCheckProtocol::Tcp };
    let protocol = change.protocol.or(old.map(|old| old.protocol)).unwrap_or(default);
    let has_requests = protocol != HealthCheckProtocol::Tcp;
    if requests_only && !has_requests {
        let kind = if group.is_application() { group.name() } else { "alb" };
        let message = format!("targets of {kind} groups are checked by HTTP or HTTPS, not by TCP");
        return Err(Error::at(Code::InvalidConfigurationRequest, "healthCheck.protocol", message));
    }
    let has_tls = protocol == HealthCheckProtocol::Https;
    for (field, value, has_it, check) in [
        ("path", &change.path, has_requests, check_path as fn(&str) -> Result<(), Error>),
        ("matcher", &change.matcher, has_requests, check_matcher),
        ("host", &change.host, has_requests, check_host),
        ("serverName", &change.server_name, has_tls, check_server_name),
        ("bodyContains", &change.body_contains, has_requests, check_text),
    ] {
        let Some(value) = value else { continue };
        if !has_it {
            let those = if has_requests { "HTTPS" } else { "HTTP or HTTPS" };
            let message =
                format!("health checks by {} have no {field}; give protocol {those}, or leave it out", protocol.name());
            return Err(Error::at(Code::InvalidConfigurationRequest, format!("healthCheck.{field}"), message));
        }
        check(value)?;
    }

    let interval_seconds = interval.or(old.map(|old| old.interval_seconds)).unwrap_or(30);
    let default = match protocol {
        _ if group.is_application() => 5,
        HealthCheckProtocol::Http => 6,
        HealthCheckProtocol::Tcp | HealthCheckProtocol::Https => 10,
    };
    let timeout_seconds = timeout.or(old.map(|old| old.timeout_seconds)).unwrap_or(interval_seconds.min(default));
    if timeout_seconds > interval_seconds {
        let message = format!(
            "the time-out of {timeout_seconds} seconds exceeds the interval of {interval_seconds} seconds; \
             give a time-out of 2 to {interval_seconds} seconds, or a longer interval"
        );
        return Err(Error::at(Code::InvalidConfigurationRequest, "healthCheck.timeoutSeconds", message));
    }
    let text = |change: &Option<String>, old: Option<&String>, default: &str| {
        has_requests.then(|| change.as_ref().or(old).map_or_else(|| default.to_owned(), Clone::clone))
    };
    Ok(HealthCheck {
        protocol,
        port: change.port.or(old.map(|old| old.port)).unwrap_or_default(),
        interval_seconds,
        timeout_seconds,
        healthy_threshold_count: healthy.or(old.map(|old| old.healthy_threshold_count)).unwrap_or(5),
        unhealthy_threshold_count: unhealthy.or(old.map(|old| old.unhealthy_threshold_count)).unwrap_or(2),
        path: text(&change.path, old.and_then(|old| old.path.as_ref()), "/"),
        matcher: text(
            &change.matcher,
            old.and_then(|old| old.matcher.as_ref()),
            if group.is_application() { "200" } else { "200-399" },
        ),
        host: option(has_requests, &change.host, old.and_then(|old| old.host.as_ref())),
        server_name: option(has_tls, &change.server_name, old.and_then(|old| old.server_name.as_ref())),
        body_contains: option(has_requests, &change.body_contains, old.and_then(|old| old.body_contains.as_ref())),
    })
}

/// A setting that need not be there; an empty text takes it away.
fn option(has_it: bool, change: &Option<String>, old: Option<&String>) -> Option<String> {
    change.as_ref().or(old).filter(|text| has_it && !text.is_empty()).cloned()
}

fn check_path(path: &str) -> Result<(), Error> {
    if path.starts_with('/') && path.len() <= PATH_CHARS_MAX && path.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    let message = format!(
        "{} is not the path of a health check; it has 1 to {PATH_CHARS_MAX} printable ASCII characters, no spaces, and \
         begins with /",
        Shown(path)
    );
    Err(Error::invalid("healthCheck.path", message))
}

/// Numbers and ranges of statuses, 200 to 599 (HC-08).
fn check_matcher(matcher: &str) -> Result<(), Error> {
    if matcher.parse::<Matcher>().is_ok() {
        return Ok(());
    }
    let message = format!(
        "{} does not say which statuses pass; give numbers and ranges from 200 to 599, such as 200-299,302",
        Shown(matcher)
    );
    Err(Error::invalid("healthCheck.matcher", message))
}

/// A Host header, or nothing.
fn check_host(host: &str) -> Result<(), Error> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    if host.len() <= HOST_CHARS_MAX && host.bytes().all(good) {
        return Ok(());
    }
    let allowed = format!("1 to {HOST_CHARS_MAX} letters, digits and any of .-_:[]");
    Err(Error::invalid("healthCheck.host", format!("{} is not a Host header; allowed are {allowed}", Shown(host))))
}

/// A name of DNS, or nothing.
fn check_server_name(name: &str) -> Result<(), Error> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(good) && !label.starts_with('-') && !label.ends_with('-')
    };
    // What ends in a number is an address, which TLS does not ask for.
    let is_number = name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if name.is_empty() || name.len() <= SERVER_NAME_CHARS_MAX && name.split('.').all(label) && !is_number {
        return Ok(());
    }
    let message = format!("{} is not a DNS name; write it like www.example.com", Shown(name));
    Err(Error::invalid("healthCheck.serverName", message))
}

fn check_text(text: &str) -> Result<(), Error> {
    if text.len() <= TEXT_BYTES_MAX {
        return Ok(());
    }
    let message = format!("the text has {} bytes; at most {TEXT_BYTES_MAX} are looked for", text.len());
    Err(Error::invalid("healthCheck.bodyContains", message))
}
