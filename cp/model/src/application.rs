//! Application load balancers: proxies of requests that stand elsewhere (ALBT).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error};
use crate::ids::Id;
use crate::model::{Effects, Model, Now};

/// All of them, by the hexadecimal text of their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub(crate) balancers: BTreeMap<String, Balancer>,
    pub(crate) listeners: BTreeMap<String, Listener>,
    pub(crate) rules: BTreeMap<String, Rule>,
}

/// An application load balancer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Balancer {
    /// Id.
    pub id: Id,
    /// Name, unique among all load balancers.
    pub name: String,
}

/// A listener of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Listener {
    /// Id.
    pub id: Id,
    /// Its load balancer.
    pub load_balancer: Id,
}

/// A rule of such a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Id.
    pub id: Id,
    /// Its listener.
    pub listener: Id,
}

/// A change of application load balancers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {}

impl Model {
    pub(crate) fn change_applications(&mut self, _: &mut Effects, change: Change, _: Now) -> Result<(), Error> {
        let _: Result<(), Error> =
            Err(Error::new(Code::InternalFailure, "application load balancers cannot be changed"));
        match change {}
    }
}
