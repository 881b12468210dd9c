//! Capacity that is asked for: kept and shown only, as an appliance has what it has.

use crate::error::Error;
use crate::model::{Effects, Model, Now, RecordKey};
use crate::resource::CapacityReservation;

impl Model {
    /// Keeps what is asked for; `None`: nothing any more.
    pub(crate) fn reserve_capacity(
        &mut self,
        fx: &mut Effects,
        wanted: &str,
        units: Option<i64>,
        now: Now,
    ) -> Result<(), Error> {
        let id = self.find_load_balancer(wanted)?.id;
        fx.id = Some(id);
        let reserve = |units: i64| match u32::try_from(units) {
            Ok(units) if units > 0 => Ok(CapacityReservation { units, modified_ms: now.wall_ms }),
            _ => Err(Error::invalid("capacityUnits", format!("{units} capacity units; give 1 to {}", u32::MAX))),
        };
        let capacity = units.map(reserve).transpose()?;
        let Some(lb) = self.load_balancers.get_mut(&id) else { return Ok(()) };
        if lb.capacity.map(|capacity| capacity.units) != capacity.map(|capacity| capacity.units) {
            lb.capacity = capacity;
            fx.touch(RecordKey::LoadBalancer(id));
        }
        Ok(())
    }
}
