//! `leat apply`, `leat export`

use std::path::PathBuf;

use clap::Args;
use leat_model::rest::{Document, Plan};

use crate::client::{CallError, Client, query};
use crate::output::Output;

#[derive(Args, Debug)]
#[command(after_help = "\
A document says what there shall be, in YAML or JSON; what is not named in a resource has its default:
  targetGroups:
    - name: web
      protocol: TCP
      port: 8080
      targets: [{id: 10.2.0.11}, {id: 10.2.0.12}]
  loadBalancers:
    - name: front
      nodes: [{zone: zone-a, address: 10.1.0.10}]
      listeners: [{protocol: TCP, port: 80, targetGroup: web}]

Examples:
  leat apply -f front.yaml --dry-run        what would change
  leat apply -f front.yaml                  change it, all or nothing
  leat export > now.yaml                    the configuration as such a document")]
pub struct ApplyArgs {
    /// The document; - is standard input
    #[arg(short, long)]
    file: PathBuf,
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    /// Delete load balancers and target groups that the document does not name
    #[arg(long)]
    prune: bool,
}

pub fn apply(args: &ApplyArgs, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    // As the file has it: the control plane says what is wrong with it.
    let document: serde_json::Value = super::document(&args.file)?;
    let parameters =
        [("dryRun", args.dry_run.then(|| "true".to_owned())), ("prune", args.prune.then(|| "true".to_owned()))];
    let plan: Plan = client.post(&format!("/v1/apply{}", query(&parameters)), &document)?;
    output.show(&plan, |plan| {
        let mut lines = Vec::new();
        for change in &plan.changes {
            lines.push(format!("{} {}", change.action, change.resource));
            lines.extend(change.details.iter().map(|detail| format!("    {detail}")));
        }
        let count = plan.changes.len();
        lines.push(match (count, plan.applied) {
            (0, _) => "nothing differs".into(),
            (_, true) => format!("{count} changes made"),
            (_, false) => format!("{count} changes would be made"),
        });
        lines.join("\n")
    });
    Ok(())
}

pub fn export(client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    let document: Document = client.get("/v1/configuration")?;
    output.show(&document, |document| serde_yaml_ng::to_string(document).unwrap_or_else(|error| error.to_string()));
    Ok(())
}
