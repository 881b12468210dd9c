//! The table of REST calls: the one definition of paths, names, roles, answers and handlers. From it come the router, authorisation,
//! the audit log's names and the OpenAPI document.

use axum::routing::{MethodRouter, delete, get, patch, post, put};
use leat_model::rest::Role;

use super::signature::{self, Signature};
use super::{
    App, account, audit, backup, balancers, certificates, declare, events, groups, inventory, listeners, observe,
    openapi, rules, shifts, tags, users,
};

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
    (@PUT) => { put };
    (@PATCH) => { patch };
    (@DELETE) => { delete };
}

/// All of them.
pub const ROUTES: &[Route] = routes! {
    GET "/v1/status" GetStatus Read 200 => observe::status: "What the appliance is doing";
    GET "/v1/backup" GetBackup Admin 200 => backup::show: "The configuration, without secrets, to be kept";
    POST "/v1/restore" RestoreBackup Admin 200 => backup::restore: "Make the configuration that of a backup";
    GET "/v1/openapi.json" GetOpenApi Read 200 => openapi::show: "This document";

    GET "/v1/load-balancers" DescribeLoadBalancers Read 200 => balancers::list: "List load balancers";
    POST "/v1/load-balancers" CreateLoadBalancer Admin 201 => balancers::create: "Create a load balancer";
    GET "/v1/load-balancers/{lb}" DescribeLoadBalancer Read 200 => balancers::show: "Show a load balancer";
    PATCH "/v1/load-balancers/{lb}" ModifyLoadBalancer Admin 200 => balancers::modify: "Change a load balancer";
    DELETE "/v1/load-balancers/{lb}" DeleteLoadBalancer Admin 200 => balancers::delete: "Delete a load balancer and its listeners";
    GET "/v1/load-balancers/{lb}/attributes" DescribeLoadBalancerAttributes Read 200
        => balancers::attributes: "Show a load balancer's attributes";
    PATCH "/v1/load-balancers/{lb}/attributes" ModifyLoadBalancerAttributes Admin 200
        => balancers::modify_attributes: "Change a load balancer's attributes, all or none";
    GET "/v1/load-balancers/{lb}/tags" DescribeLoadBalancerTags Read 200
        => tags::show::<tags::OfBalancer>: "Show a load balancer's tags";
    PUT "/v1/load-balancers/{lb}/tags" ReplaceLoadBalancerTags Admin 200
        => tags::replace::<tags::OfBalancer>: "Give a load balancer these tags and no others";
    PATCH "/v1/load-balancers/{lb}/tags" AddLoadBalancerTags Admin 200
        => tags::add::<tags::OfBalancer>: "Add tags to a load balancer, or change them";
    DELETE "/v1/load-balancers/{lb}/tags" RemoveLoadBalancerTag Admin 200
        => tags::remove::<tags::OfBalancer>: "Remove a load balancer's tag";

    GET "/v1/load-balancers/{lb}/listeners" DescribeListeners Read 200 => listeners::list: "List the listeners of a load balancer";
    POST "/v1/load-balancers/{lb}/listeners" CreateListener Admin 201 => listeners::create: "Create a listener";
    GET "/v1/load-balancers/{lb}/listeners/{port}" DescribeListener Read 200 => listeners::show: "Show a listener";
    PATCH "/v1/load-balancers/{lb}/listeners/{port}" ModifyListener Admin 200 => listeners::modify: "Change a listener";
    DELETE "/v1/load-balancers/{lb}/listeners/{port}" DeleteListener Admin 200 => listeners::delete: "Delete a listener";
    GET "/v1/load-balancers/{lb}/listeners/{port}/attributes" DescribeListenerAttributes Read 200
        => listeners::attributes: "Show a listener's attributes";
    PATCH "/v1/load-balancers/{lb}/listeners/{port}/attributes" ModifyListenerAttributes Admin 200
        => listeners::modify_attributes: "Change a listener's attributes, all or none";
    GET "/v1/load-balancers/{lb}/listeners/{port}/certificates" DescribeListenerCertificates Read 200
        => listeners::certificates: "List a listener's certificates";
    POST "/v1/load-balancers/{lb}/listeners/{port}/certificates" AddListenerCertificates Admin 200
        => listeners::add_certificates: "Add certificates to a listener";
    POST "/v1/load-balancers/{lb}/listeners/{port}/certificates/remove" RemoveListenerCertificates Admin 200
        => listeners::remove_certificates: "Remove certificates from a listener";
    GET "/v1/load-balancers/{lb}/listeners/{port}/tags" DescribeListenerTags Read 200
        => tags::show::<tags::OfListener>: "Show a listener's tags";
    PUT "/v1/load-balancers/{lb}/listeners/{port}/tags" ReplaceListenerTags Admin 200
        => tags::replace::<tags::OfListener>: "Give a listener these tags and no others";
    PATCH "/v1/load-balancers/{lb}/listeners/{port}/tags" AddListenerTags Admin 200
        => tags::add::<tags::OfListener>: "Add tags to a listener, or change them";
    DELETE "/v1/load-balancers/{lb}/listeners/{port}/tags" RemoveListenerTag Admin 200
        => tags::remove::<tags::OfListener>: "Remove a listener's tag";

    GET "/v1/load-balancers/{lb}/listeners/{port}/rules" DescribeRules Read 200
        => rules::list: "List the rules of a listener of an application load balancer";
    POST "/v1/load-balancers/{lb}/listeners/{port}/rules" CreateRule Admin 201 => rules::create: "Create a rule";
    GET "/v1/load-balancers/{lb}/listeners/{port}/rules/{rule}" DescribeRule Read 200 => rules::show: "Show a rule";
    PATCH "/v1/load-balancers/{lb}/listeners/{port}/rules/{rule}" ModifyRule Admin 200 => rules::modify: "Change a rule";
    DELETE "/v1/load-balancers/{lb}/listeners/{port}/rules/{rule}" DeleteRule Admin 200 => rules::delete: "Delete a rule";

    GET "/v1/target-groups" DescribeTargetGroups Read 200 => groups::list: "List target groups";
    POST "/v1/target-groups" CreateTargetGroup Admin 201 => groups::create: "Create a target group";
    GET "/v1/target-groups/{tg}" DescribeTargetGroup Read 200 => groups::show: "Show a target group";
    PATCH "/v1/target-groups/{tg}" ModifyTargetGroup Admin 200 => groups::modify: "Change a target group";
    DELETE "/v1/target-groups/{tg}" DeleteTargetGroup Admin 200 => groups::delete: "Delete a target group";
    GET "/v1/target-groups/{tg}/attributes" DescribeTargetGroupAttributes Read 200
        => groups::attributes: "Show a target group's attributes";
    PATCH "/v1/target-groups/{tg}/attributes" ModifyTargetGroupAttributes Admin 200
        => groups::modify_attributes: "Change a target group's attributes, all or none";
    GET "/v1/target-groups/{tg}/tags" DescribeTargetGroupTags Read 200
        => tags::show::<tags::OfGroup>: "Show a target group's tags";
    PUT "/v1/target-groups/{tg}/tags" ReplaceTargetGroupTags Admin 200
        => tags::replace::<tags::OfGroup>: "Give a target group these tags and no others";
    PATCH "/v1/target-groups/{tg}/tags" AddTargetGroupTags Admin 200
        => tags::add::<tags::OfGroup>: "Add tags to a target group, or change them";
    DELETE "/v1/target-groups/{tg}/tags" RemoveTargetGroupTag Admin 200
        => tags::remove::<tags::OfGroup>: "Remove a target group's tag";

    GET "/v1/target-groups/{tg}/targets" DescribeTargetHealth Read 200 => groups::targets: "List targets and their health";
    POST "/v1/target-groups/{tg}/targets" RegisterTargets Operate 200 => groups::register: "Register targets, all or none";
    POST "/v1/target-groups/{tg}/targets/deregister" DeregisterTargets Operate 200, 202 => groups::deregister: "Deregister targets";

    GET "/v1/tags" DescribeTags Read 200 => tags::show_by_arn: "Show tags of anything, by its ARN";
    PUT "/v1/tags" ReplaceTags Admin 200 => tags::replace_by_arn: "Give anything these tags and no others";
    PATCH "/v1/tags" AddTags Admin 200 => tags::add_by_arn: "Add tags to anything, or change them";
    DELETE "/v1/tags" RemoveTags Admin 200 => tags::remove_by_arn: "Remove a tag of anything";



    GET "/v1/inventory" GetInventory Read 200 => inventory::show: "Show what is declared of the network";
    PUT "/v1/inventory" PutInventory Admin 200 => inventory::put: "Declare the network: everything is replaced";
    GET "/v1/inventory/instances/{id}" GetInstance Read 200 => inventory::show_instance: "Show an instance";
    PUT "/v1/inventory/instances/{id}" PutInstance Admin 200 => inventory::put_instance: "Declare an instance";
    PATCH "/v1/inventory/instances/{id}" ModifyInstance Admin 200
        => inventory::modify_instance: "Change an instance's state or labels";
    DELETE "/v1/inventory/instances/{id}" DeleteInstance Admin 200 => inventory::delete_instance: "Forget an instance";

    GET "/v1/zonal-shifts" ListZonalShifts Read 200 => shifts::list: "List zonal shifts";
    POST "/v1/zonal-shifts" StartZonalShift Operate 201 => shifts::start: "Move traffic away from a zone";
    GET "/v1/zonal-shifts/{id}" GetZonalShift Read 200 => shifts::show: "Show a zonal shift";
    PATCH "/v1/zonal-shifts/{id}" UpdateZonalShift Operate 200 => shifts::update: "Change a zonal shift's end or comment";
    DELETE "/v1/zonal-shifts/{id}" CancelZonalShift Operate 200 => shifts::cancel: "End a zonal shift";
    GET "/v1/certificates" ListCertificates Read 200 => certificates::list: "List certificates";
    POST "/v1/certificates" ImportCertificate Admin 201 => certificates::import: "Import a certificate with its key";
    GET "/v1/certificates/{arn}" DescribeCertificate Read 200 => certificates::show: "Show a certificate";
    DELETE "/v1/certificates/{arn}" DeleteCertificate Admin 200 => certificates::delete: "Delete a certificate";

    GET "/v1/users" ListUsers Admin 200 => users::list: "List users";
    POST "/v1/users" CreateUser Admin 201 => users::create: "Make a user; its secrets are shown this once";
    GET "/v1/users/{name}" GetUser Admin 200 => users::show: "Show a user, without secrets";
    DELETE "/v1/users/{name}" DeleteUser Admin 200 => users::delete: "Delete a user; never the last admin";
    POST "/v1/users/{name}/rotate" RotateUserSecrets Admin 200 => users::rotate: "Give a user new secrets, shown this once";
    GET "/v1/whoami" GetCallerIdentity Read 200 => users::whoami: "Show who asks";
    GET "/v1/audit-events" LookupEvents Admin 200 => audit::list: "Look calls up in the audit log";
    GET "/v1/events" ListEvents Read 200 => events::list: "List what has happened, and wait for more";

    GET "/v1/interfaces" DescribeNetworkInterfaces Read 200 => account::interfaces: "List the network interfaces of load balancers";
    PATCH "/v1/interfaces/{id}" ModifyNetworkInterfaceAttribute Admin 200
        => account::modify_interface: "Refused: interfaces belong to their load balancers";

    GET "/v1/quotas" DescribeAccountLimits Read 200 => account::quotas: "List quotas";
    GET "/v1/ssl-policies" DescribeSSLPolicies Read 200 => account::ssl_policies: "List security policies of TLS listeners";

    GET "/v1/configuration" GetConfiguration Read 200 => declare::show: "Show the configuration as a document";
    POST "/v1/apply" ApplyConfiguration Admin 200 => declare::apply: "Make the configuration what a document says, all or nothing";

    GET "/v1/dns" GetDns Read 200 => observe::dns: "Show the names of load balancers and what DNS answers";
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
