//! Why a request is refused.

use std::fmt;

macro_rules! codes {
    ($($variant:ident $status:literal $doc:literal,)*) => {
        /// What programs look at: AWS's codes where there is one. One definition makes the code, its HTTP status and its
        /// line of documentation (ERR-10).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code { $(#[doc = $doc] $variant,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name in answers.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant),)* }
            }

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// When it is given.
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }
        }
    };
}

codes! {
    ValidationError 400 "A value is missing, of the wrong type or out of its range, or the body is not JSON.",
    InvalidConfigurationRequest 400 "The values are good one by one but do not go together.",
    DuplicateLoadBalancerName 400 "A load balancer of this name exists with other settings.",
    DuplicateTargetGroupName 400 "A target group of this name exists with other settings.",
    DuplicateListener 400 "The load balancer has a listener on this port with other settings.",
    InvalidTarget 400 "It cannot be a target.",
    InvalidInstance 400 "It cannot be an instance of a Classic load balancer, or is none.",
    DuplicatePolicyName 400 "The Classic load balancer has a policy of this name.",
    TooManyPolicies 400 "A Classic load balancer has its most policies.",
    InvalidScheme 400 "The scheme is neither internet-facing nor internal.",
    InvalidSubnet 400 "The subnet, or the address in it, cannot be used for a load balancer.",
    InvalidSecurityGroup 400 "Load balancers have no security groups here.",
    AvailabilityZoneNotSupported 400 "Load balancers cannot be in this zone.",
    OperationNotPermitted 400 "Something protects it: deletion protection, being a default or being fixed.",
    UnsupportedProtocol 400 "The protocol is none of this kind of load balancer.",
    InvalidLoadBalancerAction 400 "The action cannot be that of this listener or rule.",
    DuplicateTagKeys 400 "A tag's key is given twice.",
    ResourceInUse 400 "Something else still needs it.",
    IncompatibleProtocols 400 "A listener of this protocol cannot forward to a target group of that protocol.",
    TargetGroupAssociationLimit 400 "The target group belongs to another load balancer.",
    TooManyLoadBalancers 400 "The quota of load balancers is reached.",
    TooManyListeners 400 "The quota of listeners of a load balancer is reached.",
    TooManyTargetGroups 400 "The quota of target groups is reached.",
    TooManyTargets 400 "A quota of targets is reached.",
    TooManyRegistrationsForTargetId 400 "The target is in too many target groups.",
    TooManyCertificates 400 "A quota of certificates is reached.",
    TooManyTags 400 "The quota of tags of a resource is reached.",
    TooManyActions 400 "There are too many actions.",
    TooManyUniqueTargetGroupsPerLoadBalancer 400 "The actions forward to too many target groups.",
    TooManyRules 400 "The quota of rules of a listener is reached.",
    PriorityInUse 400 "Another rule of the listener has this priority.",
    DuplicateUserName 400 "A user of this name exists.",
    DuplicateCertificateName 400 "A certificate of this name exists.",
    MalformedCertificate 400 "The certificate, its chain or its key cannot be read or used.",
    KeyPairMismatch 400 "The private key is not that of the certificate.",
    UnsupportedOperation 400 "What the inventory declares is changed by PUT /v1/inventory only.",
    Throttling 429 "Too many requests in a short time; wait a moment.",
    InvalidAction 400 "The API has no such operation, or not in this version.",
    AccessDenied 403 "Who asks may not do this, or it is a web page of another origin.",
    MissingAuthenticationToken 403 "The request says not who asks.",
    IncompleteSignature 400 "The signature's form is wrong.",
    InvalidClientTokenId 403 "There is no such access key or token.",
    SignatureDoesNotMatch 403 "The signature is not the request's, or too old, or was used before.",
    LoadBalancerNotFound 404 "There is no such load balancer.",
    ListenerNotFound 404 "There is no such listener.",
    TargetGroupNotFound 404 "There is no such target group.",
    RuleNotFound 404 "There is no such rule.",
    TrustStoreNotFound 404 "There are no trust stores here.",
    SubnetNotFound 404 "The inventory has no such subnet.",
    NetworkNotFound 404 "The inventory has no such network.",
    InstanceNotFound 404 "The inventory has no such instance.",
    AllocationIdNotFound 404 "The inventory has no such static address.",
    CertificateNotFound 404 "There is no such certificate.",
    SSLPolicyNotFound 404 "There is no such security policy.",
    ALPNPolicyNotFound 404 "There is no such ALPN policy.",
    NetworkInterfaceNotFound 404 "There is no such network interface.",
    RouteTableNotFound 404 "There is no such route table.",
    InternetGatewayNotFound 404 "There is no such internet gateway.",
    PeeringNotFound 404 "There is no such connection of two networks.",
    ResourceNotFound 404 "There is no such thing here.",
    ZonalShiftNotFound 404 "There is no such zonal shift.",
    PolicyNotFound 404 "The Classic load balancer has no such policy.",
    PolicyTypeNotFound 404 "There is no such type of policies.",
    LoadBalancerAttributeNotFound 404 "Classic load balancers have no such attribute.",
    UserNotFound 404 "There is no such user.",
    TraceNotFound 404 "There is no such trace.",
    NotFound 404 "The API has no such path.",
    MethodNotAllowed 405 "The path does not know this method.",
    DryRunOperation 412 "The request would have succeeded, but asked not to be carried out.",
    RequestTooLarge 413 "The body is larger than 1 MiB.",
    HealthUnavailable 500 "Health cannot be told at the moment.",
    InternalFailure 500 "A defect of leat-cp; its log says more.",
    ServiceUnavailable 503 "The store cannot be written, or the data plane does not answer. Nothing was changed.",
}

/// The codes as Markdown, for `docs/api.md`.
pub fn markdown() -> String {
    let row = |code: &Code| format!("| `{}` | {} | {} |\n", code.name(), code.status(), code.help());
    format!("| code | status | when |\n|---|---|---|\n{}", Code::ALL.iter().map(row).collect::<String>())
}

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// For programs.
    pub code: Code,
    /// For people: what is wrong, what is allowed, what to do.
    pub message: String,
    /// The path of the request's field at fault.
    pub field: Option<String>,
}

impl Error {
    /// An error of no field.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: None }
    }

    /// An error of a field.
    pub fn at(code: Code, field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), field: Some(field.into()) }
    }

    /// A [`Code::ValidationError`] of a field.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::at(Code::ValidationError, field, message)
    }
}

/// What somebody else wrote, made fit for a message: control characters escaped, not longer than 64 characters.
pub struct Shown<'t>(pub &'t str);

const SHOWN_MAX: usize = 64;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars().take(SHOWN_MAX) {
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        f.write_str(if self.0.chars().nth(SHOWN_MAX).is_some() { "…\"" } else { "\"" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_short_and_printable() {
        assert_eq!(Shown("web").to_string(), "\"web\"");
        assert_eq!(Shown("a\u{1b}[2Jb\n").to_string(), "\"a\\u{1b}[2Jb\\n\"");
        assert_eq!(Shown(&"é".repeat(65)).to_string().chars().count(), 64 + 3);
        assert_eq!(Shown(&"é".repeat(64)).to_string().chars().count(), 64 + 2);
    }

    #[test]
    fn the_guide_has_this_table() {
        let guide = include_str!("../../../docs/api.md");
        assert!(guide.contains(&markdown()), "put this table into docs/api.md:\n{}", markdown());
    }

    #[test]
    fn every_code_has_a_client_or_server_error_status() {
        assert!(Code::ALL.iter().all(|code| (400..600).contains(&code.status())));
    }
}
