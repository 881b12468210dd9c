//! How many of everything there may be (QTA). One table makes the values and their documentation.

use crate::error::{Code, Error};

macro_rules! limits {
    ($($field:ident $default:literal $code:ident $what:literal,)*) => {
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
            $(
                /// Refuses more than the quota.
                pub(crate) fn $field(&self, count: usize) -> Result<(), Error> {
                    if count <= self.$field {
                        return Ok(());
                    }
                    let message = format!(
                        "the quota of {} is {}, this would make {count}; delete or deregister some first",
                        $what, self.$field
                    );
                    Err(Error::new(Code::$code, message))
                }
            )*
        }
    };
}

limits! {
    load_balancers 50 TooManyLoadBalancers "load balancers",
    nodes 1200 InvalidConfigurationRequest "nodes of all load balancers",
    listeners 50 TooManyListeners "listeners per load balancer",
    target_groups 3000 TooManyTargetGroups "target groups",
    targets_per_group 1000 TooManyTargets "targets per target group",
    targets_per_zone 500 TooManyTargets "targets per zone of a load balancer",
    targets_per_load_balancer 3000 TooManyTargets "targets per load balancer",
    targets_per_request 1000 ValidationError "targets in one request",
}
