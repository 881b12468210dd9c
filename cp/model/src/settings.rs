//! Attributes of load balancers and listeners, and certificates of listeners.

use crate::error::{Code, Error};
use crate::model::{Effects, Model};
use crate::rest;

impl Model {
    pub(crate) fn modify_load_balancer_attributes(
        &mut self,
        _: &mut Effects,
        _: &str,
        _: rest::Attributes,
    ) -> Result<(), Error> {
        Err(Error::new(Code::InternalFailure, "attributes of load balancers cannot be changed"))
    }

    pub(crate) fn modify_listener_attributes(
        &mut self,
        _: &mut Effects,
        _: &str,
        _: u16,
        _: rest::Attributes,
    ) -> Result<(), Error> {
        Err(Error::new(Code::InternalFailure, "attributes of listeners cannot be changed"))
    }

    pub(crate) fn add_listener_certificates(
        &mut self,
        _: &mut Effects,
        _: &str,
        _: u16,
        _: &[String],
    ) -> Result<(), Error> {
        Err(Error::new(Code::InternalFailure, "certificates of listeners cannot be changed"))
    }

    pub(crate) fn remove_listener_certificates(
        &mut self,
        _: &mut Effects,
        _: &str,
        _: u16,
        _: &[String],
    ) -> Result<(), Error> {
        Err(Error::new(Code::InternalFailure, "certificates of listeners cannot be changed"))
    }
}
