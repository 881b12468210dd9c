//! Ids and ARNs (LB-06, LB-07).

use std::fmt;
use std::str::FromStr;

use crate::model::Site;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The id of a resource, written as 16 hexadecimal digits. The caller draws it at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub u64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A text is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id has 16 hexadecimal digits")]
pub struct NotAnId;

impl FromStr for Id {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let digits = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if digits { u64::from_str_radix(text, 16).map(Self).map_err(|_| NotAnId) } else { Err(NotAnId) }
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// What all ARNs of an appliance begin with.
fn prefix(site: &Site) -> String {
    format!("arn:{}:elasticloadbalancing:{}:{}", site.partition, site.region, site.account)
}

/// A load balancer's ARN.
pub fn load_balancer_arn(site: &Site, name: &str, id: Id) -> String {
    format!("{}:loadbalancer/net/{name}/{id}", prefix(site))
}

/// An application load balancer's ARN.
pub fn application_arn(site: &Site, name: &str, id: Id) -> String {
    format!("{}:loadbalancer/app/{name}/{id}", prefix(site))
}

/// The ARN of a Classic load balancer.
pub fn classic_arn(site: &Site, name: &str) -> String {
    format!("{}:loadbalancer/{name}", prefix(site))
}

/// The ARN of a listener of an application load balancer.
pub fn application_listener_arn(site: &Site, load_balancer: &str, load_balancer_id: Id, id: Id) -> String {
    format!("{}:listener/app/{load_balancer}/{load_balancer_id}/{id}", prefix(site))
}

/// The ARN of a rule of a listener of either kind.
pub fn rule_arn(listener_arn: &str, id: Id) -> String {
    format!("{}/{id}", listener_arn.replacen(":listener/", ":listener-rule/", 1))
}

/// A listener's ARN.
pub fn listener_arn(site: &Site, load_balancer: &str, load_balancer_id: Id, id: Id) -> String {
    format!("{}:listener/net/{load_balancer}/{load_balancer_id}/{id}", prefix(site))
}

/// A target group's ARN.
pub fn target_group_arn(site: &Site, name: &str, id: Id) -> String {
    format!("{}:targetgroup/{name}/{id}", prefix(site))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// req: LB-06, LB-07
    #[test]
    fn arns_have_the_documented_form() {
        let (lb, id) = (Id(0xabc), Id(u64::MAX));
        let site = Site::default();
        let start = "arn:aws:elasticloadbalancing:on-prem-1:000000000000:";
        assert_eq!(load_balancer_arn(&site, "web", lb), format!("{start}loadbalancer/net/web/0000000000000abc"));
        assert_eq!(
            listener_arn(&site, "web", lb, id),
            format!("{start}listener/net/web/0000000000000abc/ffffffffffffffff")
        );
        assert_eq!(target_group_arn(&site, "web", id), format!("{start}targetgroup/web/ffffffffffffffff"));
    }

    #[test]
    fn ids_are_read_as_written() {
        assert_eq!("0000000000000abc".parse(), Ok(Id(0xabc)));
        for bad in ["", "abc", "0000000000000ABC", "+000000000000abc", "0000000000000abcd"] {
            assert_eq!(bad.parse::<Id>(), Err(NotAnId), "{bad}");
        }
    }
}
