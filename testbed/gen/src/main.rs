//! The packet generator: see `leat-gen --help`.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;
use leat_gen::options::{Options, with_profile};

fn main() -> ExitCode {
    let arguments = match with_profile(std::env::args().collect()) {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("leat-gen: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    match leat_gen::commands::run(&Options::parse_from(arguments).command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("leat-gen: {error:#}");
            ExitCode::FAILURE
        }
    }
}
