//! Zonal shifts.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `POST /v1/zonal-shifts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartZonalShift {
    /// Name, id or ARN of the load balancer.
    pub load_balancer: String,
    /// The zone that traffic is moved away from.
    pub away_from: String,
    /// How long, such as `30m`, `3h` or `2d`; 1 minute to 3 days.
    pub expires_in: String,
    /// Why.
    #[serde(default)]
    pub comment: String,
}

/// `PATCH /v1/zonal-shifts/{id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdateZonalShift {
    /// How long from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// How far a zonal shift is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum ShiftStatus {
    /// It works.
    Active,
    /// Its time is over.
    Expired,
    /// It was ended.
    Canceled,
}

/// A zonal shift.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZonalShift {
    /// Id.
    pub id: String,
    /// ARN of the load balancer.
    pub load_balancer_arn: String,
    /// The zone.
    pub away_from: String,
    /// Why.
    pub comment: String,
    /// How far it is.
    pub status: ShiftStatus,
    /// When it began, in milliseconds since 1970.
    pub start_ms: u64,
    /// When it ends, in milliseconds since 1970.
    pub expiry_ms: u64,
}

/// `GET /v1/zonal-shifts`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZonalShifts {
    /// The newest first.
    pub zonal_shifts: Vec<ZonalShift>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}
