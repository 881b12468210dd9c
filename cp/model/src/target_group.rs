//! Rules of target groups and their attributes (TG, ATT, HC).

use crate::attributes;
use crate::check;
use crate::error::{Code, Error, Shown};
use crate::ids::Id;
use crate::model::{Effects, Model, RecordKey};
use crate::resource::{Registration, TargetGroup};
use crate::rest::{self, HealthCheck, HealthCheckPort, ModifyHealthCheck, Protocol, TargetAddressType};

impl Model {
    pub(crate) fn create_target_group(
        &mut self,
        fx: &mut Effects,
        request: rest::CreateTargetGroup,
        id: Id,
    ) -> Result<(), Error> {
        check::name("name", &request.name)?;
        let port = check::port("port", request.port)?;
        let health_check = merged(&request.health_check, None)?;
        check_attributes(request.protocol, &request.attributes)?;
        if request.ip_address_type == TargetAddressType::Ipv6 && request.protocol.has_udp() {
            let message = format!("a {} target group has IPv4 addresses; IPv6 needs protocol TCP", request.protocol);
            return Err(Error::at(Code::InvalidConfigurationRequest, "ipAddressType", message));
        }
        let group = TargetGroup {
            id,
            name: request.name,
            protocol: request.protocol,
            port,
            target_type: request.target_type,
            ip_address_type: request.ip_address_type,
            health_check,
            attributes: request.attributes,
            network: request.network,
            protocol_version: request.protocol_version,
            selector: request.selector,
            tags: request.tags,
            classic: None,
        };
        if let Some(old) = self.target_groups.values().find(|old| old.name == group.name) {
            if same_settings(old, &group) {
                fx.id = Some(old.id);
                return Ok(());
            }
            let message = format!(
                "a target group {} exists with other settings; choose another name, or change or delete that one",
                Shown(&group.name)
            );
            return Err(Error::at(Code::DuplicateTargetGroupName, "name", message));
        }
        self.limits.target_groups(self.target_groups.len() + 1)?;
        self.target_groups.insert(id, group);
        fx.touch(RecordKey::TargetGroup(id));
        fx.id = Some(id);
        Ok(())
    }

    pub(crate) fn modify_target_group(
        &mut self,
        fx: &mut Effects,
        wanted: &str,
        request: &rest::ModifyTargetGroup,
    ) -> Result<(), Error> {
        let id = self.find_target_group(wanted)?.id;
        fx.id = Some(id);
        let Some(group) = self.target_groups.get_mut(&id) else { return Ok(()) };
        let health_check = merged(&request.health_check, Some(&group.health_check))?;
        if group.health_check != health_check {
            group.health_check = health_check;
            fx.touch(RecordKey::TargetGroup(id));
        }
        Ok(())
    }

    pub(crate) fn modify_attributes(
        &mut self,
        fx: &mut Effects,
        wanted: &str,
        attributes: rest::Attributes,
    ) -> Result<(), Error> {
        let group = self.find_target_group(wanted)?;
        let id = group.id;
        check_attributes(group.protocol, &attributes)?;
        fx.id = Some(id);
        let Some(group) = self.target_groups.get_mut(&id) else { return Ok(()) };
        for (key, value) in attributes {
            if group.attribute(&key) != value {
                group.attributes.insert(key, value);
                fx.touch(RecordKey::TargetGroup(id));
            }
        }
        Ok(())
    }

    pub(crate) fn delete_target_group(&mut self, fx: &mut Effects, wanted: &str) -> Result<(), Error> {
        let Ok(group) = self.find_target_group(wanted) else { return Ok(()) };
        let (id, name) = (group.id, group.name.clone());
        if let Some(user) = self.user_of(id) {
            let lb = self.load_balancers.get(&user).map_or("", |lb| lb.name.as_str());
            let message = format!(
                "listeners of load balancer {} forward to target group {}; delete them or give them another group first",
                Shown(lb),
                Shown(&name)
            );
            return Err(Error::new(Code::ResourceInUse, message));
        }
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
        Ok(())
    }
}

/// Whether two groups were asked for in the same way; defaults and values that say the same are the same.
fn same_settings(a: &TargetGroup, b: &TargetGroup) -> bool {
    let attributes = |group: &TargetGroup| attributes::all(&group.attributes, group.protocol, group.target_type);
    (a.protocol, a.port, a.target_type, a.ip_address_type, &a.health_check)
        == (b.protocol, b.port, b.target_type, b.ip_address_type, &b.health_check)
        && attributes(a) == attributes(b)
}

fn check_attributes(protocol: Protocol, attributes: &rest::Attributes) -> Result<(), Error> {
    attributes.iter().try_for_each(|(key, value)| attributes::check(protocol, key, value))
}

/// The longest time-out by default, in seconds (HC-04).
const TIMEOUT_DEFAULT: u32 = 10;

/// The settings of health checks after a change; without old ones the defaults count.
fn merged(change: &ModifyHealthCheck, old: Option<&HealthCheck>) -> Result<HealthCheck, Error> {
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
    let interval_seconds = interval.or(old.map(|old| old.interval_seconds)).unwrap_or(30);
    let timeout_seconds =
        timeout.or(old.map(|old| old.timeout_seconds)).unwrap_or(TIMEOUT_DEFAULT.min(interval_seconds));
    if timeout_seconds > interval_seconds {
        let message = format!(
            "the time-out of {timeout_seconds} seconds exceeds the interval of {interval_seconds} seconds; \
             give a time-out of 2 to {interval_seconds} seconds, or a longer interval"
        );
        return Err(Error::at(Code::InvalidConfigurationRequest, "healthCheck.timeoutSeconds", message));
    }
    Ok(HealthCheck {
        protocol: change.protocol.or(old.map(|old| old.protocol)).unwrap_or_default(),
        port: change.port.or(old.map(|old| old.port)).unwrap_or_default(),
        interval_seconds,
        timeout_seconds,
        healthy_threshold_count: healthy.or(old.map(|old| old.healthy_threshold_count)).unwrap_or(5),
        unhealthy_threshold_count: unhealthy.or(old.map(|old| old.unhealthy_threshold_count)).unwrap_or(2),
        path: change.path.clone().or(old.and_then(|old| old.path.clone())),
        matcher: change.matcher.clone().or(old.and_then(|old| old.matcher.clone())),
    })
}
