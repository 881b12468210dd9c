//! Tags (TAG).

use crate::error::{Code, Error};
use crate::model::{Effects, Model};

impl Model {
    pub(crate) fn add_tags(&mut self, _: &mut Effects, _: &[String], _: &[(String, String)]) -> Result<(), Error> {
        Err(Error::new(Code::InternalFailure, "tags cannot be changed"))
    }

    pub(crate) fn remove_tags(&mut self, _: &mut Effects, _: &[String], _: &[String]) -> Result<(), Error> {
        Err(Error::new(Code::InternalFailure, "tags cannot be changed"))
    }
}
