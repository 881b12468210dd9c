//! `leat trace`

use std::thread;
use std::time::{Duration, Instant};

use clap::Subcommand;
use leat_model::rest::{CreateTrace, Protocol, Trace, TraceCreated, TraceFilter, TracedPacket};

use crate::client::{CallError, Client};
use crate::output::Output;

const ASK_EVERY: Duration = Duration::from_millis(200);

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Trace the next packets that arrive on a port and show each one's way through the stages
    #[command(after_help = "\
The filter is a list of words, all of which must hold; without it every packet counts:
  tcp | udp
  src ADDRESS | src port PORT | src ADDRESS port PORT
  dst ADDRESS | dst port PORT | dst ADDRESS port PORT

Examples:
  leat trace add p0 10
  leat trace add p0 5 tcp dst 10.1.0.10 port 80
  leat trace add p0 1 \"udp src 10.9.0.7\" --timeout 60")]
    Add {
        /// The port, such as p0: `leat status` lists them
        port: String,
        /// So many packets, 1–10000
        count: i64,
        /// Which packets: see below
        filter: Vec<String>,
        /// Stop waiting for packets after so many seconds
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        timeout: u64,
    },
}

pub fn run(command: &Command, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    let Command::Add { port, count, filter, timeout } = command;
    let filter = match parse_filter(filter) {
        Ok(filter) => filter,
        Err(message) => {
            use clap::CommandFactory;
            let mut command = crate::Cli::command();
            command.build();
            let add = command.find_subcommand_mut("trace").and_then(|trace| trace.find_subcommand_mut("add"));
            let Some(add) = add else { return Err(CallError::Protocol(message)) };
            add.error(clap::error::ErrorKind::ValueValidation, message).exit()
        }
    };
    let body = CreateTrace { port: Some(port.clone()), count: Some(*count), filter };
    let created: TraceCreated = client.post("/v1/traces", &body)?;
    let path = format!("/v1/traces/{}", created.id);
    let end = Instant::now() + Duration::from_secs(*timeout);
    let mut shown = 0;
    loop {
        let trace: Trace = client.get(&path)?;
        let over = !trace.running || Instant::now() >= end;
        if output.is_json() {
            if over {
                output.show(&trace, |_| String::new());
            }
        } else {
            for packet in trace.packets.iter().skip(shown) {
                output.line(&describe(packet));
            }
            shown = trace.packets.len();
            if over && trace.running {
                output.line(&format!("{shown} of {} packets came within {timeout} s", trace.count));
            }
        }
        if over {
            return Ok(());
        }
        thread::sleep(ASK_EVERY);
    }
}

fn describe(packet: &TracedPacket) -> String {
    let width = packet.steps.iter().map(|step| step.stage.len()).max().unwrap_or(0);
    let steps = packet.steps.iter().map(|step| format!("\n  {:width$}  {}", step.stage, step.detail));
    format!("packet {} on lcore {}:{}", packet.packet, packet.lcore, steps.collect::<String>())
}

/// Reads the words of a filter, each of which may hold several.
fn parse_filter(words: &[String]) -> Result<TraceFilter, String> {
    let mut filter = TraceFilter::default();
    // Whether `port` belongs to the source; unknown before the first direction.
    let mut source: Option<bool> = None;
    let mut words = words.iter().flat_map(|words| words.split_whitespace());
    while let Some(word) = words.next() {
        match word {
            "tcp" => filter.protocol = Some(Protocol::Tcp),
            "udp" => filter.protocol = Some(Protocol::Udp),
            "src" => source = Some(true),
            "dst" => source = Some(false),
            "and" | "host" => {}
            "port" => {
                let port = words.next().and_then(|port| port.parse::<u16>().ok());
                let port = port.filter(|port| *port != 0).ok_or("\"port\" needs a number from 1 to 65535")?;
                match source {
                    Some(true) => filter.source_port = Some(port.into()),
                    Some(false) => filter.destination_port = Some(port.into()),
                    None => return Err("say whose port: \"src port 4000\" or \"dst port 80\"".into()),
                }
            }
            address if address.parse::<std::net::IpAddr>().is_ok() => match source {
                Some(true) => filter.source = Some(address.into()),
                Some(false) => filter.destination = Some(address.into()),
                None => return Err(format!("say whose address: \"src {address}\" or \"dst {address}\"")),
            },
            other => {
                return Err(format!(
                    "\"{other}\" is not understood in a filter; write for example: tcp dst 10.1.0.10 port 80"
                ));
            }
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<TraceFilter, String> {
        parse_filter(&[text.to_owned()])
    }

    #[test]
    fn filters() {
        let filter = parse("tcp dst 10.1.0.10 port 80").expect("good");
        let expected = TraceFilter {
            protocol: Some(Protocol::Tcp),
            destination: Some("10.1.0.10".into()),
            destination_port: Some(80),
            ..TraceFilter::default()
        };
        assert_eq!(filter, expected);
        let words: Vec<String> = "src port 4000 and udp".split(' ').map(str::to_owned).collect();
        let filter = parse_filter(&words).expect("good");
        assert_eq!((filter.protocol, filter.source_port), (Some(Protocol::Udp), Some(4000)));
        assert_eq!(parse("").expect("empty"), TraceFilter::default());
        let filter = parse("dst 2001:db8::10 port 80").expect("good");
        assert_eq!((filter.destination.as_deref(), filter.destination_port), (Some("2001:db8::10"), Some(80)));
        for (wrong, says) in [
            ("port 80", "whose port"),
            ("10.0.0.1", "whose address"),
            ("dst port 0", "1 to 65535"),
            ("dst port", "1 to 65535"),
            ("icmp", "not understood"),
        ] {
            assert!(parse(wrong).expect_err(wrong).contains(says), "{wrong}");
        }
    }
}
