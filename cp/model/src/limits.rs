//! How many of everything there may be (QTA). One table makes the values, what the APIs tell of them and their documentation.

use crate::error::{Code, Error, Shown};

/// Which API tells of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Face {
    /// `DescribeAccountLimits` of Elastic Load Balancing 2015-12-01.
    ElbV2,
    /// `DescribeAccountLimits` of Elastic Load Balancing 2012-06-01.
    Elb,
    /// None: AWS's APIs do not know it.
    Own,
}

/// A quota and what it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// AWS's name of it, where there is one.
    pub name: &'static str,
    /// What it is.
    pub max: usize,
    /// Whether it can be changed by configuration (QTA-13).
    pub adjustable: bool,
    /// Which API tells of it.
    pub face: Face,
    /// What is counted.
    pub what: &'static str,
    /// What a request beyond it is refused with.
    pub code: Code,
}

/// No adjustable quota can be more.
pub const LIMIT_MAX: usize = 1_000_000;

macro_rules! limits {
    ($($field:ident $name:literal $default:literal $adjustable:literal $face:ident $code:ident $what:literal,)*) => {
        /// The quotas.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Limits {
            $(#[doc = $what] pub $field: usize,)*
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl Limits {
            /// All of them, as they are.
            pub fn all(&self) -> Vec<Limit> {
                vec![$(Limit {
                    name: $name,
                    max: self.$field,
                    adjustable: $adjustable,
                    face: Face::$face,
                    what: $what,
                    code: Code::$code,
                },)*]
            }

            fn field(&mut self, name: &str) -> Option<&mut usize> {
                match name { $($name => Some(&mut self.$field),)* _ => None }
            }

            $(
                /// Refuses more than the quota.
                ///
                /// # Errors
                /// There are more.
                pub fn $field(&self, count: usize) -> Result<(), Error> {
                    if count <= self.$field {
                        return Ok(());
                    }
                    let raise = if $adjustable {
                        format!(", or start leat-cp with --quota {}={count}", $name)
                    } else {
                        String::new()
                    };
                    let message = format!(
                        "the quota of {} is {}, this would make {count}; delete or deregister some first{raise}",
                        $what, self.$field
                    );
                    Err(Error::new(Code::$code, message))
                }
            )*
        }
    };
}

limits! {
    load_balancers "network-load-balancers" 50 true ElbV2 TooManyLoadBalancers "network load balancers",
    nodes "network-load-balancer-enis-per-vpc" 1200 true ElbV2 InvalidConfigurationRequest
        "nodes of all network load balancers in a network",
    listeners "listeners-per-network-load-balancer" 50 false ElbV2 TooManyListeners
        "listeners per network load balancer",
    certificates "certificates-per-network-load-balancer" 25 true ElbV2 TooManyCertificates
        "certificates per network load balancer, default ones not counted",
    targets_per_zone "targets-per-availability-zone-per-network-load-balancer" 500 true ElbV2 TooManyTargets
        "targets per zone of a network load balancer",
    targets_per_load_balancer "targets-per-network-load-balancer" 3000 true ElbV2 TooManyTargets
        "targets per network load balancer",
    target_groups_per_action "target-groups-per-action-on-network-load-balancer" 1 false ElbV2
        TooManyUniqueTargetGroupsPerLoadBalancer "target groups per action of a network load balancer",
    target_groups "target-groups" 3000 true ElbV2 TooManyTargetGroups "target groups",
    targets_per_group "targets-per-target-group" 1000 true ElbV2 TooManyTargets
        "targets per target group of instances or addresses",
    application_load_balancers "application-load-balancers" 50 true ElbV2 TooManyLoadBalancers
        "application load balancers",
    application_listeners "listeners-per-application-load-balancer" 50 true ElbV2 TooManyListeners
        "listeners per application load balancer",
    application_rules "rules-per-application-load-balancer" 100 true ElbV2 TooManyRules
        "rules per application load balancer, default ones not counted",
    application_target_groups_per_action "target-groups-per-action-on-application-load-balancer" 5 false ElbV2
        TooManyUniqueTargetGroupsPerLoadBalancer "target groups per action of an application load balancer",
    classic_load_balancers "classic-load-balancers" 20 true Elb TooManyLoadBalancers "Classic load balancers",
    classic_listeners "classic-listeners" 100 true Elb TooManyListeners "listeners per Classic load balancer",
    classic_instances "classic-registered-instances" 1000 true Elb TooManyTargets
        "instances per Classic load balancer",
    albs_per_group "application-load-balancers-per-target-group" 1 false Own TooManyTargets
        "application load balancers per target group",
    tags "tags-per-resource" 50 false Own TooManyTags "tags per resource",
    targets_per_request "targets-per-request" 1000 false Own ValidationError "targets in one request",
    instances "instances" 10000 true Own InvalidConfigurationRequest "instances in the inventory",
}

impl Limits {
    /// Changes an adjustable quota.
    ///
    /// # Errors
    /// There is none of this name, it cannot be changed, or the value is not 1 to [`LIMIT_MAX`].
    pub fn set(&mut self, name: &str, value: usize) -> Result<(), Error> {
        let adjustable = || {
            let names: Vec<&str> = self.all().iter().filter(|limit| limit.adjustable).map(|limit| limit.name).collect();
            names.join(", ")
        };
        match self.all().iter().find(|limit| limit.name == name) {
            None => {
                let message =
                    format!("there is no quota {}; those that can be changed are {}", Shown(name), adjustable());
                return Err(Error::invalid("name", message));
            }
            Some(limit) if !limit.adjustable => {
                let message = format!("the quota {name} cannot be changed; those that can are {}", adjustable());
                return Err(Error::at(Code::OperationNotPermitted, "name", message));
            }
            Some(_) if !(1..=LIMIT_MAX).contains(&value) => {
                let message = format!("{value} cannot be a quota; allowed are 1 to {LIMIT_MAX}");
                return Err(Error::invalid("value", message));
            }
            Some(_) => {}
        }
        if let Some(field) = self.field(name) {
            *field = value;
        }
        Ok(())
    }
}

/// The quotas as Markdown, for `docs/api.md`.
pub fn markdown() -> String {
    let row = |limit: &Limit| {
        let adjustable = if limit.adjustable { "yes" } else { "no" };
        format!("| `{}` | {} | {adjustable} | {} |\n", limit.name, limit.max, limit.what)
    };
    let rows: String = Limits::default().all().iter().map(row).collect();
    format!("| name | default | adjustable | how many |\n|---|---|---|---|\n{rows}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guide_has_this_table() {
        let guide = include_str!("../../../docs/api.md");
        assert!(guide.contains(&markdown()), "put this table into docs/api.md:\n{}", markdown());
    }

    /// req: QTA-01, QTA-02, QTA-03, QTA-04, QTA-05, QTA-06, QTA-07, QTA-08, QTA-09, QTA-10, QTA-12
    #[test]
    fn the_defaults_are_those_documented() {
        let all = Limits::default().all();
        for (name, max, adjustable) in [
            ("certificates-per-network-load-balancer", 25, true),
            ("listeners-per-network-load-balancer", 50, false),
            ("network-load-balancer-enis-per-vpc", 1200, true),
            ("network-load-balancers", 50, true),
            ("target-groups-per-action-on-network-load-balancer", 1, false),
            ("targets-per-availability-zone-per-network-load-balancer", 500, true),
            ("targets-per-network-load-balancer", 3000, true),
            ("target-groups", 3000, true),
            ("targets-per-target-group", 1000, true),
            ("application-load-balancers-per-target-group", 1, false),
            ("tags-per-resource", 50, false),
        ] {
            let limit = all.iter().find(|limit| limit.name == name).expect(name);
            assert_eq!((limit.max, limit.adjustable), (max, adjustable), "{name}");
        }
    }

    /// req: QTA-13
    #[test]
    fn adjustable_quotas_can_be_changed_and_others_not() {
        let mut limits = Limits::default();
        for limit in Limits::default().all() {
            let result = limits.set(limit.name, 7);
            assert_eq!(result.is_ok(), limit.adjustable, "{}", limit.name);
            let now = limits.all().into_iter().find(|now| now.name == limit.name).expect("it");
            assert_eq!(now.max, if limit.adjustable { 7 } else { limit.max }, "{}", limit.name);
        }
        assert!(limits.load_balancers(8).expect_err("more").message.contains("--quota network-load-balancers=8"));
        assert!(!limits.listeners(51).expect_err("more").message.contains("--quota"));
        for (name, value) in [("network-load-balancers", 0), ("target-groups", LIMIT_MAX + 1), ("nonsense", 1)] {
            assert_eq!(limits.set(name, value).expect_err("refused").code, Code::ValidationError);
        }
    }
}
