//! Classic load balancers (CLB): what they say, carried by a network load balancer and target groups that are not shown.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::model::{Effects, Model, Now};

/// A Classic load balancer, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Balancer {
    /// Name.
    pub name: String,
}

/// A change of Classic load balancers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {}

impl Model {
    pub(crate) fn change_classics(&mut self, _: &mut Effects, change: Change, _: Now) -> Result<(), Error> {
        match change {}
    }
}
