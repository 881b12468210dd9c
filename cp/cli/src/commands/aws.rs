//! `leat aws`: AWS's command line against this control plane.

use std::env;
use std::os::unix::process::CommandExt;

use clap::Args;

use crate::client::{CallError, Client, Endpoint};
use crate::output::Output;

#[derive(Args, Debug)]
#[command(
    after_help = "\
Examples:
  leat aws elbv2 describe-load-balancers     run aws with the endpoint, region and keys set
  eval \"$(leat aws)\"                         set them in this shell, for aws, boto3 and Terraform

The keys are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the environment; `leat user create` shows those of a new user.",
    disable_help_flag = true
)]
pub struct AwsArgs {
    /// What aws shall do; nothing: print the environment for a shell
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

pub fn run(args: &AwsArgs, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    let url = match client.endpoint() {
        Endpoint::Unix(_) => "http://127.0.0.1:9321".to_owned(),
        other => other.to_string(),
    };
    let region =
        env::var("AWS_DEFAULT_REGION").or_else(|_| env::var("AWS_REGION")).unwrap_or_else(|_| "on-prem-1".into());
    if args.arguments.is_empty() {
        if let Some(ca) = client.ca() {
            output.line(&format!("export AWS_CA_BUNDLE={}", ca.display()));
        }
        output.line(&format!(
            "export AWS_ENDPOINT_URL={url}\nexport AWS_DEFAULT_REGION={region}\nexport AWS_EC2_METADATA_DISABLED=true\n\
             # clients before 2023 do not know AWS_ENDPOINT_URL: give them --endpoint-url {url}\n\
             # keys: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, from `leat user create`"
        ));
        return Ok(());
    }
    let mut command = std::process::Command::new("aws");
    command.args(["--endpoint-url", &url]).args(&args.arguments);
    command.env("AWS_ENDPOINT_URL", &url).env("AWS_DEFAULT_REGION", region).env("AWS_EC2_METADATA_DISABLED", "true");
    command.envs(client.ca().map(|ca| ("AWS_CA_BUNDLE", ca)));
    // Takes the place of this process; it returns only when that fails.
    let error = command.exec();
    Err(CallError::Input(format!("cannot run aws: {error}; install AWS's command line (Debian: awscli)")))
}
