//! Zonal shifts: traffic is moved away from a zone for a time (ZS). What ends one is the clock, somebody, or its load balancer's
//! deletion. While the process runs, the monotonic clock counts; what is stored is the wall clock's time.

use serde::{Deserialize, Serialize};

use crate::attributes::CROSS_ZONE;
use crate::error::{Code, Error, Shown};
use crate::ids::{self, Id};
use crate::model::{Effects, Kind, Model, Now, RecordKey};
use crate::resource::LoadBalancer;
use crate::rest::{self, ShiftStatus};

/// The shortest and the longest time of a shift, in milliseconds (ZS-04).
const DURATION_MS: std::ops::RangeInclusive<u64> = 60_000..=DURATION_MS_MAX;
const DURATION_MS_MAX: u64 = 3 * 24 * 3_600_000;
/// Longest comment, in characters.
const COMMENT_CHARS_MAX: usize = 128;
/// So many shifts that are over are remembered.
pub const OVER_MAX: usize = 100;

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
    /// When it ends, in milliseconds since 1970: what survives a restart.
    pub expiry_ms: u64,
    /// The same by the monotonic clock: what counts while the process runs.
    #[serde(skip)]
    pub expiry_mono_ms: u64,
    /// How far it is.
    pub status: ShiftStatus,
}

impl Shift {
    fn is_active(&self) -> bool {
        self.status == ShiftStatus::Active
    }

    fn expire_in(&mut self, duration_ms: u64, now: Now) {
        self.expiry_ms = now.wall_ms + duration_ms;
        self.expiry_mono_ms = now.mono_ms + duration_ms;
    }
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

fn key(id: &str) -> RecordKey {
    RecordKey::Object(Kind::ZonalShift, id.to_owned())
}

impl Model {
    pub(crate) fn change_shifts(&mut self, fx: &mut Effects, change: Change, now: Now) -> Result<(), Error> {
        match change {
            Change::Start { request, id } => self.start_shift(fx, request, id, now),
            Change::Update { id, request } => {
                let duration = request.expires_in.as_ref().map(|text| duration_ms("expiresIn", text)).transpose()?;
                let shift = self.active_shift(&id)?;
                let old = shift.clone();
                if let Some(comment) = request.comment {
                    shift.comment = check_comment(comment)?;
                }
                if let Some(duration) = duration {
                    shift.expire_in(duration, now);
                }
                if *shift != old {
                    fx.touch(key(&id));
                }
                Ok(())
            }
            Change::Cancel { id } => {
                self.active_shift(&id)?.status = ShiftStatus::Canceled;
                fx.touch(key(&id));
                Ok(())
            }
        }
    }

    fn start_shift(
        &mut self,
        fx: &mut Effects,
        request: rest::StartZonalShift,
        id: String,
        now: Now,
    ) -> Result<(), Error> {
        let at = |error| Error { field: Some("loadBalancer".into()), ..error };
        if let Some(lb) = self.application(&request.load_balancer) {
            let message = format!(
                "{} is an application load balancer; start the shift at the network load balancer in front of it",
                Shown(&lb.name)
            );
            return Err(at(Error::new(Code::OperationNotPermitted, message)));
        }
        let lb = self.find_load_balancer(&request.load_balancer).map_err(at)?;
        let duration = duration_ms("expiresIn", &request.expires_in)?;
        let zones: Vec<&str> = lb.nodes.iter().map(|node| node.zone.as_str()).collect();
        if !zones.contains(&request.away_from.as_str()) {
            let message = format!(
                "load balancer {} is not in zone {}; its zones are {}",
                Shown(&lb.name),
                Shown(&request.away_from),
                zones.join(", ")
            );
            return Err(Error::invalid("awayFrom", message));
        }
        if let Some((id, other)) = self.shifts.iter().find(|(_, it)| it.is_active() && it.load_balancer == lb.id) {
            let message = format!(
                "load balancer {} has an active zonal shift, {id}, away from {}; there is one at a time: update or cancel it",
                Shown(&lb.name),
                other.away_from
            );
            return Err(Error::at(Code::ResourceInUse, "loadBalancer", message));
        }
        self.check_not_cross_zone(lb)?;
        let mut shift = Shift {
            load_balancer: lb.id,
            load_balancer_arn: ids::load_balancer_arn(&self.site, &lb.name, lb.id),
            away_from: request.away_from,
            comment: check_comment(request.comment)?,
            start_ms: now.wall_ms,
            expiry_ms: 0,
            expiry_mono_ms: 0,
            status: ShiftStatus::Active,
        };
        shift.expire_in(duration, now);
        fx.touch(key(&id));
        self.shifts.insert(id, shift);
        self.forget_shifts(fx);
        Ok(())
    }

    /// Zonal shifts go with cross-zone load balancing switched off only, for the load balancer and for each of its groups (ZS-02).
    fn check_not_cross_zone(&self, lb: &LoadBalancer) -> Result<(), Error> {
        let groups = self.listeners_of(lb.id).filter_map(|listener| self.target_groups.get(&listener.target_group));
        let name = if lb.subject().value(&lb.attributes, CROSS_ZONE) == "true" {
            format!("load balancer {}", Shown(&lb.name))
        } else if let Some(group) = groups.into_iter().find(|group| group.attribute(CROSS_ZONE) == "true") {
            format!("target group {}", Shown(&group.name))
        } else {
            return Ok(());
        };
        let message = format!(
            "cross-zone load balancing is on for {name}, which does not go with zonal shifts; set {CROSS_ZONE} to false first"
        );
        Err(Error::at(Code::InvalidConfigurationRequest, "loadBalancer", message))
    }

    /// The same for a change of a load balancer that a shift works on (ZS-02).
    pub(crate) fn check_shift_goes_on(&self, lb: Id) -> Result<(), Error> {
        match self.load_balancers.get(&lb).filter(|_| self.shifted_zone(lb).is_some()) {
            Some(lb) => self.check_not_cross_zone(lb).map_err(|error| Error { field: None, ..error }),
            None => Ok(()),
        }
    }

    /// Forgets the oldest of too many shifts that are over.
    fn forget_shifts(&mut self, fx: &mut Effects) {
        let over = self.shifts.iter().filter(|(_, shift)| !shift.is_active());
        let mut over: Vec<(u64, String)> = over.map(|(id, shift)| (shift.start_ms, id.clone())).collect();
        over.sort();
        let too_many = over.len().saturating_sub(OVER_MAX);
        for (_, id) in over.into_iter().take(too_many) {
            self.shifts.remove(&id);
            fx.touch(key(&id));
        }
    }

    fn active_shift(&mut self, id: &str) -> Result<&mut Shift, Error> {
        let Some(shift) = self.shifts.get_mut(id) else { return Err(missing(id)) };
        if shift.is_active() {
            return Ok(shift);
        }
        let message = format!("the zonal shift {} is over and cannot be changed; start a new one", Shown(id));
        Err(Error::new(Code::OperationNotPermitted, message))
    }

    /// The active shifts of a load balancer end with it.
    pub(crate) fn end_shifts(&mut self, fx: &mut Effects, lb: Id) {
        for (id, shift) in self.shifts.iter_mut().filter(|(_, it)| it.is_active() && it.load_balancer == lb) {
            shift.status = ShiftStatus::Canceled;
            fx.touch(key(id));
        }
    }

    /// Ends the shifts whose time is over (ZS-08).
    pub(crate) fn expire_shifts(&mut self, fx: &mut Effects, now: Now) {
        for (id, shift) in self.shifts.iter_mut().filter(|(_, it)| it.is_active() && it.expiry_mono_ms <= now.mono_ms) {
            shift.status = ShiftStatus::Expired;
            fx.touch(key(id));
        }
    }

    /// When the next shift ends, by the monotonic clock.
    pub(crate) fn next_shift_expiry_ms(&self) -> Option<u64> {
        self.shifts.values().filter(|shift| shift.is_active()).map(|shift| shift.expiry_mono_ms).min()
    }

    /// After a restart what is left by the wall clock runs on by the monotonic one, never more than the longest time.
    pub(crate) fn resume_shifts(&mut self, now: Now) {
        for shift in self.shifts.values_mut() {
            shift.expiry_mono_ms = now.mono_ms + shift.expiry_ms.saturating_sub(now.wall_ms).min(DURATION_MS_MAX);
        }
    }

    /// All zonal shifts.
    pub fn shifts(&self) -> impl Iterator<Item = (&str, &Shift)> {
        self.shifts.iter().map(|(id, shift)| (id.as_str(), shift))
    }

    /// A zonal shift by its id.
    ///
    /// # Errors
    /// [`Code::ZonalShiftNotFound`].
    pub fn find_shift(&self, id: &str) -> Result<&Shift, Error> {
        self.shifts.get(id).ok_or_else(|| missing(id))
    }

    /// The zone that traffic of a load balancer is moved away from at the moment.
    pub fn shifted_zone(&self, load_balancer: Id) -> Option<&str> {
        let mut active = self.shifts.values().filter(|shift| shift.is_active());
        active.find(|shift| shift.load_balancer == load_balancer).map(|shift| shift.away_from.as_str())
    }

    /// A zonal shift as the API shows it. One whose time is over has ended, whether that was noted or not.
    ///
    /// # Errors
    /// [`Code::ZonalShiftNotFound`].
    pub fn show_shift(&self, id: &str, now: Now) -> Result<rest::ZonalShift, Error> {
        let shift = self.find_shift(id)?;
        let is_over = shift.is_active() && shift.expiry_mono_ms <= now.mono_ms;
        Ok(rest::ZonalShift {
            id: id.into(),
            load_balancer_arn: shift.load_balancer_arn.clone(),
            away_from: shift.away_from.clone(),
            comment: shift.comment.clone(),
            status: if is_over { ShiftStatus::Expired } else { shift.status },
            start_ms: shift.start_ms,
            expiry_ms: shift.expiry_ms,
        })
    }
}

fn missing(id: &str) -> Error {
    Error::new(Code::ZonalShiftNotFound, format!("there is no zonal shift {}", Shown(id)))
}

/// `30m`, `3h` or `2d` in milliseconds, 1 minute to 3 days.
fn duration_ms(field: &str, text: &str) -> Result<u64, Error> {
    let unit_ms = match text.as_bytes().last() {
        Some(b'm') => 60_000,
        Some(b'h') => 3_600_000,
        Some(b'd') => 24 * 3_600_000,
        _ => 0,
    };
    let digits = text.get(..text.len().saturating_sub(1)).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
    let duration = digits.and_then(|digits| digits.parse::<u64>().ok()).and_then(|number| number.checked_mul(unit_ms));
    duration.filter(|duration| DURATION_MS.contains(duration)).ok_or_else(|| {
        let message = format!(
            "{} is no time of 1 minute to 3 days; write minutes, hours or days like 30m, 3h or 2d",
            Shown(text)
        );
        Error::invalid(field, message)
    })
}

fn check_comment(comment: String) -> Result<String, Error> {
    if comment.chars().count() <= COMMENT_CHARS_MAX && !comment.chars().any(char::is_control) {
        return Ok(comment);
    }
    let message = format!("a comment has up to {COMMENT_CHARS_MAX} printable characters");
    Err(Error::invalid("comment", message))
}
