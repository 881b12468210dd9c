//! Zonal shifts: traffic is moved away from a zone for a time (ZS).

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Shown};
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

    /// Finds a zonal shift and shows it as it is now.
    ///
    /// # Errors
    /// [`Code::ZonalShiftNotFound`].
    pub fn show_shift(&self, id: &str, now: Now) -> Result<rest::ZonalShift, Error> {
        let message = || format!("there is no zonal shift {}", Shown(id));
        let shift = self.shifts.get(id).ok_or_else(|| Error::new(Code::ZonalShiftNotFound, message()))?;
        Ok(rest::ZonalShift {
            id: id.to_owned(),
            load_balancer_arn: shift.load_balancer_arn.clone(),
            away_from: shift.away_from.clone(),
            comment: shift.comment.clone(),
            status: match shift {
                Shift { canceled: true, .. } => rest::ShiftStatus::Canceled,
                Shift { expiry_ms, .. } if *expiry_ms <= now.wall_ms => rest::ShiftStatus::Expired,
                _ => rest::ShiftStatus::Active,
            },
            start_ms: shift.start_ms,
            expiry_ms: shift.expiry_ms,
        })
    }

    /// All zonal shifts.
    pub fn shifts(&self) -> impl Iterator<Item = (&str, &Shift)> {
        self.shifts.iter().map(|(id, shift)| (id.as_str(), shift))
    }
}
