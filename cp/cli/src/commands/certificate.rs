//! `leat certificate`

use std::path::PathBuf;

use clap::Subcommand;
use leat_model::rest::{Certificate, Certificates, ImportCertificate};

use super::{map, pair, words};
use crate::client::{CallError, Client, segment};
use crate::output::{Output, fields, list};

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Keep a certificate with its key for TLS listeners
    #[command(after_help = "\
Examples:
  leat certificate import --certificate cert.pem --private-key key.pem --chain chain.pem
  leat certificate import --certificate new.pem --private-key new-key.pem --replaces arn:aws:acm:…")]
    Import {
        /// File with the certificate, PEM
        #[arg(long, value_name = "FILE")]
        certificate: PathBuf,
        /// File with its private key without a password, PEM
        #[arg(long, value_name = "FILE")]
        private_key: PathBuf,
        /// File with the issuers' certificates, PEM
        #[arg(long, value_name = "FILE")]
        chain: Option<PathBuf>,
        /// ARN of the certificate that this one replaces
        #[arg(long, value_name = "ARN")]
        replaces: Option<String>,
        /// A tag; repeat for more
        #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = pair)]
        tags: Vec<(String, String)>,
    },
    /// List all certificates
    List,
    /// Show one certificate
    Describe {
        /// Its ARN
        arn: String,
    },
    /// Forget a certificate that no listener uses, and its key
    Delete {
        /// Its ARN
        arn: String,
    },
}

fn path(arn: &str) -> String {
    format!("/v1/certificates/{}", segment(arn))
}

pub fn run(command: &Command, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    match command {
        Command::Import { certificate, private_key, chain, replaces, tags } => {
            let body = ImportCertificate {
                certificate: super::text(certificate)?,
                private_key: super::text(private_key)?,
                chain: chain.as_deref().map(super::text).transpose()?,
                name: None,
                path: None,
                replaces: replaces.clone(),
                tags: map(tags),
            };
            output.show(&client.post("/v1/certificates", &body)?, describe);
        }
        Command::List => output.show(&client.get::<Certificates>("/v1/certificates")?, |answer| {
            let row = |it: &Certificate| [it.domain_name.clone(), it.key_algorithm.clone(), it.arn.clone()];
            list("no certificates", ["domain", "key", "arn"], answer.certificates.iter().map(row))
        }),
        Command::Describe { arn } => output.show(&client.get(&path(arn))?, describe),
        Command::Delete { arn } => {
            client.delete(&path(arn))?;
            output.done(format_args!("certificate {arn} is deleted"));
        }
    }
    Ok(())
}

fn describe(it: &Certificate) -> String {
    fields(&[
        ("arn", it.arn.clone()),
        ("domain", it.domain_name.clone()),
        ("names", it.subject_alternative_names.join(" ")),
        ("issuer", it.issuer.clone()),
        ("serial", it.serial.clone()),
        ("key", it.key_algorithm.clone()),
        ("in use by", if it.in_use_by.is_empty() { "nothing".into() } else { it.in_use_by.join(" ") }),
        ("tags", words(&it.tags)),
    ])
}
