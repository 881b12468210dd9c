//! Zonal shifts: traffic is moved away from a zone for a time (ZS).

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error};
use crate::ids::Id;
use crate::model::{Effects, Model, Now};
use crate::rest;

/// A zonal shift, by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shift {
    /// Its load balancer.
    pub load_balancer: Id,
    /// The ARN that it had.
    pub load_balancer_arn: String,
    /// The zone.
    pub away_from: String,
    /// Why.
    pub comment: String,
    /// When it began, in milliseconds since 1970.
    pub start_ms: u64,
    /// When it ends, in milliseconds since 1970.
    pub expiry_ms: u64,
    /// It was ended before.
    pub canceled: bool,
}

/// A change of zonal shifts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new one.
    Start {
        /// What is wanted.
        request: rest::StartZonalShift,
        /// Its id, drawn at random.
        id: String,
    },
    /// Another end or comment.
    Update {
        /// Id.
        id: String,
        /// What shall change.
        request: rest::UpdateZonalShift,
    },
    /// Its end.
    Cancel {
        /// Id.
        id: String,
    },
}

impl Model {
    pub(crate) fn change_shifts(&mut self, _: &mut Effects, _: Change, _: Now) -> Result<(), Error> {
        Err(Error::new(Code::InternalFailure, "zonal shifts cannot be changed"))
    }

    /// All zonal shifts.
    pub fn shifts(&self) -> impl Iterator<Item = (&str, &Shift)> {
        self.shifts.iter().map(|(id, shift)| (id.as_str(), shift))
    }
}
