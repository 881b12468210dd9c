//! `leat zonal-shift`

use std::io::{BufRead, IsTerminal};

use clap::Subcommand;
use leat_model::rest::{StartZonalShift, UpdateZonalShift, ZonalShift, ZonalShifts};

use super::word;
use crate::client::{CallError, Client, segment};
use crate::output::{Output, list};

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Move a load balancer's traffic away from a zone for a time
    #[command(
        after_help = "Example:\n  leat zonal-shift start front --away-from zone-a --expires-in 3h --comment \"switch replaced\" --ack"
    )]
    Start {
        /// Load balancer: name or id
        load_balancer: String,
        /// The zone
        #[arg(long, value_name = "ZONE")]
        away_from: String,
        /// How long: 1m to 3d
        #[arg(long, value_name = "TIME")]
        expires_in: String,
        /// Why
        #[arg(long, default_value = "")]
        comment: String,
        /// Acknowledge that the zones that are left have to carry all traffic; without it one is asked
        #[arg(long)]
        ack: bool,
    },
    /// Change how long, from now on, or the comment
    Update {
        /// Its id
        id: String,
        /// How long from now on: 1m to 3d
        #[arg(long, value_name = "TIME")]
        expires_in: Option<String>,
        /// Why
        #[arg(long)]
        comment: Option<String>,
    },
    /// End a zonal shift
    Cancel {
        /// Its id
        id: String,
    },
    /// List zonal shifts, the newest first
    List,
}

fn path(id: &str) -> String {
    format!("/v1/zonal-shifts/{}", segment(id))
}

pub fn run(command: &Command, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    match command {
        Command::Start { load_balancer, away_from, expires_in, comment, ack } => {
            if !ack {
                let (input, is_terminal) = (std::io::stdin(), std::io::stdin().is_terminal());
                acknowledge(load_balancer, away_from, is_terminal.then(|| input.lock()))?;
            }
            let body = StartZonalShift {
                load_balancer: load_balancer.clone(),
                away_from: away_from.clone(),
                expires_in: expires_in.clone(),
                comment: comment.clone(),
            };
            output.show(&client.post("/v1/zonal-shifts", &body)?, one);
        }
        Command::Update { id, expires_in, comment } => {
            let body = UpdateZonalShift { expires_in: expires_in.clone(), comment: comment.clone() };
            output.show(&client.patch(&path(id), &body)?, one);
        }
        Command::Cancel { id } => {
            client.delete(&path(id))?;
            output.done(format_args!("zonal shift {id} is ended"));
        }
        Command::List => {
            output.show(&client.get::<ZonalShifts>("/v1/zonal-shifts")?, |answer| shifts(&answer.zonal_shifts));
        }
    }
    Ok(())
}

/// Asks whether the loss of capacity is meant (ZS-09); `input` is none where nobody can be asked.
fn acknowledge(load_balancer: &str, zone: &str, input: Option<impl BufRead>) -> Result<(), CallError> {
    let what =
        format!("new connections to {load_balancer} leave {zone}, and the other zones have to carry all of them");
    let Some(mut input) = input else {
        return Err(CallError::Input(format!("{what}; give --ack if that is meant")));
    };
    eprint!("{what}. Go on? [y/N] ");
    let mut answer = String::new();
    // What cannot be read is no consent.
    let _ = input.read_line(&mut answer);
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(CallError::Input("nothing was changed".into())),
    }
}

fn one(shift: &ZonalShift) -> String {
    shifts(std::slice::from_ref(shift))
}

fn shifts(all: &[ZonalShift]) -> String {
    let row = |it: &ZonalShift| {
        let balancer = it.load_balancer_arn.rsplit('/').nth(1).unwrap_or_default().to_owned();
        [it.id.clone(), balancer, it.away_from.clone(), word(&it.status), it.comment.clone()]
    };
    list("no zonal shifts", ["id", "load balancer", "away from", "status", "comment"], all.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// req: ZS-09
    #[test]
    fn a_shift_begins_only_when_the_loss_of_capacity_is_acknowledged() {
        let ask = |answer: &str| acknowledge("front", "zone-a", Some(answer.as_bytes()));
        for yes in ["y\n", "yes\n", "Y"] {
            assert!(ask(yes).is_ok(), "{yes}");
        }
        for no in ["", "\n", "n\n", "yesterday\n"] {
            assert!(ask(no).is_err(), "{no}");
        }
        let error = acknowledge("front", "zone-a", None::<&[u8]>).expect_err("nobody was asked");
        assert!(error.to_string().contains("--ack"), "{error}");
    }
}
