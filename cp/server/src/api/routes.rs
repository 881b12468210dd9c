//! The table of REST calls: the one definition of paths, names, roles, answers and handlers. From it come the router, authorisation,
//! the audit log's names and the OpenAPI document.

use axum::routing::{MethodRouter, delete, get, patch, post};
use leat_model::rest::Role;

use super::signature::{self, Signature};
use super::{App, balancers, groups, observe, openapi};

/// A REST call.
#[derive(Clone, Copy)]
pub struct Route {
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// Path with `{parameters}`.
    pub path: &'static str,
    /// AWS's name of the operation where there is one: the `eventName` of the audit log, and the `operationId` of OpenAPI.
    pub name: &'static str,
    /// The least role that may call it.
    pub role: Role,
    /// Statuses of successful answers.
    pub statuses: &'static [u16],
    /// What it does, in a line.
    pub summary: &'static str,
    /// What it takes and gives.
    pub signature: fn() -> Signature,
    /// What serves it.
    pub handler: fn() -> MethodRouter<App>,
}

macro_rules! routes {
    ($($method:ident $path:literal $name:ident $role:ident $($status:literal),+ => $handler:path: $summary:literal;)*) => {
        &[$(Route {
            method: stringify!($method),
            path: $path,
            name: stringify!($name),
            role: Role::$role,
            statuses: &[$($status),+],
            summary: $summary,
            signature: || signature::of($handler),
            handler: || routes!(@$method)($handler),
        },)*]
    };
    (@GET) => { get };
    (@POST) => { post };
    (@PATCH) => { patch };
    (@DELETE) => { delete };
}

/// All of them.
pub const ROUTES: &[Route] = routes! {
    GET "/v1/status" GetStatus Read 200 => observe::status: "What the appliance is doing";
    GET "/v1/openapi.json" GetOpenApi Read 200 => openapi::show: "This document";

    GET "/v1/load-balancers" DescribeLoadBalancers Read 200 => balancers::list: "List load balancers";
    POST "/v1/load-balancers" CreateLoadBalancer Admin 201 => balancers::create: "Create a load balancer";
    GET "/v1/load-balancers/{lb}" DescribeLoadBalancer Read 200 => balancers::show: "Show a load balancer";
    PATCH "/v1/load-balancers/{lb}" ModifyLoadBalancer Admin 200 => balancers::modify: "Change a load balancer";
    DELETE "/v1/load-balancers/{lb}" DeleteLoadBalancer Admin 200 => balancers::delete: "Delete a load balancer and its listeners";

    GET "/v1/load-balancers/{lb}/listeners" DescribeListeners Read 200 => balancers::listeners: "List the listeners of a load balancer";
    POST "/v1/load-balancers/{lb}/listeners" CreateListener Admin 201 => balancers::create_listener: "Create a listener";
    GET "/v1/load-balancers/{lb}/listeners/{port}" DescribeListener Read 200 => balancers::show_listener: "Show a listener";
    PATCH "/v1/load-balancers/{lb}/listeners/{port}" ModifyListener Admin 200 => balancers::modify_listener: "Change a listener";
    DELETE "/v1/load-balancers/{lb}/listeners/{port}" DeleteListener Admin 200 => balancers::delete_listener: "Delete a listener";

    GET "/v1/target-groups" DescribeTargetGroups Read 200 => groups::list: "List target groups";
    POST "/v1/target-groups" CreateTargetGroup Admin 201 => groups::create: "Create a target group";
    GET "/v1/target-groups/{tg}" DescribeTargetGroup Read 200 => groups::show: "Show a target group";
    PATCH "/v1/target-groups/{tg}" ModifyTargetGroup Admin 200 => groups::modify: "Change a target group";
    DELETE "/v1/target-groups/{tg}" DeleteTargetGroup Admin 200 => groups::delete: "Delete a target group";
    GET "/v1/target-groups/{tg}/attributes" DescribeTargetGroupAttributes Read 200 => groups::attributes: "Show a target group's attributes";
    PATCH "/v1/target-groups/{tg}/attributes" ModifyTargetGroupAttributes Admin 200 => groups::modify_attributes: "Change a target group's attributes, all or none";

    GET "/v1/target-groups/{tg}/targets" DescribeTargetHealth Read 200 => groups::targets: "List targets and their health";
    POST "/v1/target-groups/{tg}/targets" RegisterTargets Operate 200 => groups::register: "Register targets, all or none";
    POST "/v1/target-groups/{tg}/targets/deregister" DeregisterTargets Operate 200, 202 => groups::deregister: "Deregister targets";

    GET "/v1/stats" GetStats Read 200 => observe::stats: "Show counters";
    GET "/v1/flows" ListFlows Read 200 => observe::flows: "List live flows";
    POST "/v1/traces" CreateTrace Operate 201 => observe::create_trace: "Trace packets";
    GET "/v1/traces/{id}" GetTrace Read 200 => observe::show_trace: "Show traced packets";
};

/// The call of a method and a path as it is in the table. `HEAD` is `GET` without the answer's body.
pub fn find(method: &str, path: &str) -> Option<&'static Route> {
    let method = if method == "HEAD" { "GET" } else { method };
    ROUTES.iter().find(|route| route.method == method && route.path == path)
}
