//! Attributes of application load balancers and their listeners: kept and shown, for the proxy that stands elsewhere.

use super::{ANY, Attribute, Kind, Subject};
use crate::rest::Protocol;

const fn kept(key: &'static str, kind: Kind, default: fn(Subject) -> Option<&'static str>) -> Attribute {
    Attribute { key, kind, default, default_doc: "", refusal: ANY, done: None, doc: "" }
}

const fn off(key: &'static str) -> Attribute {
    kept(key, Kind::Switch, |_| Some("false"))
}

const fn on(key: &'static str) -> Attribute {
    kept(key, Kind::Switch, |_| Some("true"))
}

const fn text(key: &'static str) -> Attribute {
    kept(key, Kind::Text(1024), |_| Some(""))
}

const fn of_https(key: &'static str) -> Attribute {
    let https = |subject| (subject == Subject::ApplicationListener(Protocol::Https)).then_some("");
    kept(key, Kind::Text(40), https)
}

/// The attributes of application load balancers.
pub const APPLICATIONS: &[Attribute] = &[
    off("access_logs.s3.enabled"),
    text("access_logs.s3.bucket"),
    text("access_logs.s3.prefix"),
    kept("client_keep_alive.seconds", Kind::Seconds(60, 604_800), |_| Some("3600")),
    off("connection_logs.s3.enabled"),
    text("connection_logs.s3.bucket"),
    text("connection_logs.s3.prefix"),
    off(super::DELETION_PROTECTION),
    off("health_check_logs.s3.enabled"),
    text("health_check_logs.s3.bucket"),
    text("health_check_logs.s3.prefix"),
    kept("idle_timeout.timeout_seconds", Kind::Seconds(1, 4000), |_| Some("60")),
    off("ipv6.deny_all_igw_traffic"),
    kept(super::CROSS_ZONE, Kind::Words(&["true"]), |_| Some("true")),
    kept("routing.http.desync_mitigation_mode", Kind::Words(&["monitor", "defensive", "strictest"]), |_| {
        Some("defensive")
    }),
    off("routing.http.drop_invalid_header_fields.enabled"),
    off("routing.http.preserve_host_header.enabled"),
    off("routing.http.x_amzn_tls_version_and_cipher_suite.enabled"),
    off("routing.http.xff_client_port.enabled"),
    kept("routing.http.xff_header_processing.mode", Kind::Words(&["append", "preserve", "remove"]), |_| Some("append")),
    on("routing.http2.enabled"),
    off("waf.fail_open.enabled"),
    off("zonal_shift.config.enabled"),
];

/// The attributes of their listeners.
pub const APPLICATION_LISTENERS: &[Attribute] = &[
    on("routing.http.response.server.enabled"),
    text("routing.http.response.strict_transport_security.header_value"),
    text("routing.http.response.access_control_allow_origin.header_value"),
    text("routing.http.response.access_control_allow_methods.header_value"),
    text("routing.http.response.access_control_allow_headers.header_value"),
    text("routing.http.response.access_control_allow_credentials.header_value"),
    text("routing.http.response.access_control_expose_headers.header_value"),
    text("routing.http.response.access_control_max_age.header_value"),
    text("routing.http.response.content_security_policy.header_value"),
    text("routing.http.response.x_content_type_options.header_value"),
    text("routing.http.response.x_frame_options.header_value"),
    of_https("routing.http.request.x_amzn_tls_version.header_name"),
    of_https("routing.http.request.x_amzn_tls_cipher_suite.header_name"),
    of_https("routing.http.request.x_amzn_mtls_clientcert.header_name"),
    of_https("routing.http.request.x_amzn_mtls_clientcert_serial_number.header_name"),
    of_https("routing.http.request.x_amzn_mtls_clientcert_issuer.header_name"),
    of_https("routing.http.request.x_amzn_mtls_clientcert_subject.header_name"),
    of_https("routing.http.request.x_amzn_mtls_clientcert_validity.header_name"),
    of_https("routing.http.request.x_amzn_mtls_clientcert_leaf.header_name"),
];
