//! What there is to know of the account: quotas, security policies, network interfaces.

use axum::extract::State;
use leat_model::{rest, ssl_policy};

use super::App;
use super::body::{Answer, Body, Parameters, Params, ok};
use super::page::page;

pub(super) async fn quotas(State(app): State<App>) -> Answer<rest::Quotas> {
    let quota = |limit: leat_model::limits::Limit| rest::Quota {
        name: limit.name.into(),
        value: limit.max as u64,
        adjustable: limit.adjustable,
        description: limit.what.into(),
    };
    ok(rest::Quotas { quotas: app.state.model().limits().all().into_iter().map(quota).collect() })
}

pub(super) async fn ssl_policies(State(_): State<App>) -> Answer<rest::SslPolicies> {
    let texts = |texts: Vec<&str>| texts.into_iter().map(str::to_owned).collect();
    let policy = |policy: ssl_policy::SslPolicy| rest::SslPolicy {
        name: policy.name.into(),
        protocols: texts(policy.protocols),
        ciphers: texts(policy.ciphers),
    };
    ok(rest::SslPolicies { ssl_policies: ssl_policy::all().map(policy).collect() })
}

pub(super) async fn interfaces(
    State(app): State<App>,
    Parameters(query): Parameters<rest::PageQuery>,
) -> Answer<rest::Interfaces> {
    let shown = app.state.model().interfaces();
    let key = |it: &rest::Interface| (it.description.clone(), it.id.clone());
    let (interfaces, next_cursor) = page(shown, key, query.limit, query.cursor.as_deref())?;
    ok(rest::Interfaces { interfaces, next_cursor })
}

/// Interfaces belong to their load balancers (ZN-11).
pub(super) async fn modify_interface(
    State(app): State<App>,
    Params(id): Params<String>,
    Body(_): Body<rest::ModifyInterface>,
) -> Answer<rest::Interface> {
    Err(app.state.model().refuse_interface_change(&id).into())
}
