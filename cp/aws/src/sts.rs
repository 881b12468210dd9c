//! STS: who am I?

use leat_model::Error;
use leat_model::rest::Role;

use crate::operation::{Context, Operation, Reply, Service};
use crate::params::Params;
use crate::xml::Element;

/// The operations.
pub const OPERATIONS: &[Operation] =
    &[Operation::query(Service::Sts, "GetCallerIdentity", Role::Read, get_caller_identity)];

fn get_caller_identity(context: &Context<'_>, _: &Params) -> Result<Reply<Vec<Element>>, Error> {
    let (site, caller) = (context.model.site(), context.caller);
    let arn = format!("arn:{}:iam::{}:user/{}", site.partition, site.account, caller.name);
    let id = if caller.access_key_id.is_empty() { &caller.name } else { &caller.access_key_id };
    Ok(Reply::Answer(vec![
        Element::text("Arn", arn),
        Element::text("UserId", id),
        Element::text("Account", &site.account),
    ]))
}
