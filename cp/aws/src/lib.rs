//! The AWS faces of the API, sans-IO: a decoded request, the model and the clock go in; an answer, or a command and how to show what
//! it did, come out. The caller authenticates, stores and publishes.
//!
//! | where to look | for |
//! |---|---|
//! | [`operation`] | the table of all operations, and how answers and errors are written |
//! | [`form`], [`params`] | `application/x-www-form-urlencoded` and its `Name.member.N.Field` keys |
//! | [`xml`] | elements |
//! | [`sigv4`] | signatures, version 4 |
//! | [`elbv2`], [`classic`], [`ec2`], [`sts`], [`iam`], [`acm`], [`cloudtrail`], [`zonal_shift`] | the operations by service |
#![forbid(unsafe_code)]

pub mod acm;
pub mod classic;
pub mod cloudtrail;
pub mod ec2;
pub mod elbv2;
pub mod form;
pub mod iam;
pub mod operation;
mod paging;
pub mod params;
pub mod sigv4;
pub mod sts;
pub mod xml;
pub mod zonal_shift;

pub use operation::{Caller, Context, Operation, Reply, Service};
pub use params::Params;
pub use xml::Element;
