//! What tests and fuzz targets of signatures and forms share.
#![allow(dead_code, reason = "each user needs a part of it")]

pub mod bodies;
pub mod signer;
