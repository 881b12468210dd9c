//! The table of REST calls: path, method, name and the least role. From it come authorisation, the audit log's names and the OpenAPI
//! document.

use leat_model::rest::Role;

/// A REST call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// `GET`, `POST`, …
    pub method: &'static str,
    /// Path with `{parameters}`.
    pub path: &'static str,
    /// AWS's name of the operation where there is one: the `eventName` of the audit log, and the `operationId` of OpenAPI.
    pub name: &'static str,
    /// The least role that may call it.
    pub role: Role,
}

macro_rules! routes {
    ($($method:ident $path:literal $name:ident $role:ident,)*) => {
        &[$(Route { method: stringify!($method), path: $path, name: stringify!($name), role: Role::$role },)*]
    };
}

/// All of them.
pub const ROUTES: &[Route] = routes! {
    GET "/v1/status" GetStatus Read,
    GET "/v1/load-balancers" DescribeLoadBalancers Read,
    POST "/v1/load-balancers" CreateLoadBalancer Admin,
    GET "/v1/load-balancers/{lb}" DescribeLoadBalancer Read,
    PATCH "/v1/load-balancers/{lb}" ModifyLoadBalancer Admin,
    DELETE "/v1/load-balancers/{lb}" DeleteLoadBalancer Admin,
    GET "/v1/load-balancers/{lb}/listeners" DescribeListeners Read,
    POST "/v1/load-balancers/{lb}/listeners" CreateListener Admin,
    GET "/v1/load-balancers/{lb}/listeners/{port}" DescribeListener Read,
    PATCH "/v1/load-balancers/{lb}/listeners/{port}" ModifyListener Admin,
    DELETE "/v1/load-balancers/{lb}/listeners/{port}" DeleteListener Admin,
    GET "/v1/target-groups" DescribeTargetGroups Read,
    POST "/v1/target-groups" CreateTargetGroup Admin,
    GET "/v1/target-groups/{tg}" DescribeTargetGroup Read,
    PATCH "/v1/target-groups/{tg}" ModifyTargetGroup Admin,
    DELETE "/v1/target-groups/{tg}" DeleteTargetGroup Admin,
    GET "/v1/target-groups/{tg}/attributes" DescribeTargetGroupAttributes Read,
    PATCH "/v1/target-groups/{tg}/attributes" ModifyTargetGroupAttributes Admin,
    GET "/v1/target-groups/{tg}/targets" DescribeTargetHealth Read,
    POST "/v1/target-groups/{tg}/targets" RegisterTargets Operate,
    POST "/v1/target-groups/{tg}/targets/deregister" DeregisterTargets Operate,
    GET "/v1/stats" GetStats Read,
    GET "/v1/flows" ListFlows Read,
    POST "/v1/traces" CreateTrace Operate,
    GET "/v1/traces/{id}" GetTrace Read,
};

/// The call of a method and a path as it is in the table.
pub fn find(method: &str, path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| route.method == method && route.path == path)
}
