//! Capacity reservations: ModifyCapacityReservation, DescribeCapacityReservation. They are kept and shown, and change nothing, as an
//! appliance always has all the capacity that it has.

use leat_model::resource::LoadBalancer;
use leat_model::{Code, Command, Error};

use super::arn::{self, Kind};
use super::input::{Answer, number};
use crate::operation::{Context, Reply};
use crate::params::Params;
use crate::xml::Element;

/// How often a reservation may be lowered in a day, as AWS tells it; here it may always.
const DECREASES: u32 = 2;

pub(super) fn describe(context: &Context<'_>, params: &Params) -> Answer {
    let lb = arn::network(context, params, "LoadBalancerArn", "DescribeCapacityReservation")?;
    Ok(Reply::Answer(elements(lb)))
}

pub(super) fn modify(context: &Context<'_>, params: &Params) -> Answer {
    let lb = arn::network(context, params, "LoadBalancerArn", "ModifyCapacityReservation")?;
    let minimum = params.structure("MinimumLoadBalancerCapacity");
    let units = match &minimum {
        Some(minimum) => number(minimum, "CapacityUnits", 1, u32::MAX.into())?,
        None => None,
    };
    let reset = params.switch("ResetCapacityReservation")? == Some(true);
    if reset == units.is_some() {
        let message = "You must specify either a minimum load balancer capacity or that the reservation is to be reset";
        return Err(Error::at(Code::ValidationError, "MinimumLoadBalancerCapacity", message));
    }
    let id = lb.id;
    Ok(Reply::Change(
        Command::ReserveCapacity { load_balancer: id.to_string(), units },
        Box::new(move |context, _| {
            context.model.load_balancer(id).map(elements).ok_or_else(|| Kind::LoadBalancer.not_found())
        }),
    ))
}

fn elements(lb: &LoadBalancer) -> Vec<Element> {
    let Some(reserved) = lb.capacity else {
        return vec![
            Element::text("DecreaseRequestsRemaining", DECREASES),
            Element::list("CapacityReservationState", []),
        ];
    };
    let share = f64::from(reserved.units) / lb.nodes.len().max(1) as f64;
    let state = |zone: &String| {
        vec![
            Element::parent("State", [Element::text("Code", "provisioned")]),
            Element::text("AvailabilityZone", zone),
            Element::text("EffectiveCapacityUnits", share),
        ]
    };
    vec![
        Element::time("LastModifiedTime", reserved.modified_ms),
        Element::text("DecreaseRequestsRemaining", DECREASES),
        Element::parent("MinimumLoadBalancerCapacity", [Element::text("CapacityUnits", reserved.units)]),
        Element::list("CapacityReservationState", lb.nodes.iter().map(|node| state(&node.zone))),
    ]
}
