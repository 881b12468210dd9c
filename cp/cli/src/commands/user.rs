//! `leat user`, `leat whoami`

use clap::Subcommand;
use leat_model::rest::{CreateUser, Role, User, UserSecrets, Users};

use super::word;
use crate::client::{CallError, Client, segment};
use crate::output::{Output, list};

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Let somebody in; the secrets are shown this once
    #[command(
        after_help = "Examples:\n  leat user create deploy --role operate\n  leat user create grafana --role read"
    )]
    Create {
        /// 1–32 letters, digits and hyphens
        name: String,
        /// read (look), operate (register targets, shift zones) or admin (everything)
        #[arg(long, value_parser = role)]
        role: Role,
        /// The tenant whose networks it may use [default: all]
        #[arg(long)]
        tenant: Option<String>,
    },
    /// List who may come in
    List,
    /// Give a user new secrets, shown this once; the old ones are void at once
    Rotate {
        /// Its name
        name: String,
    },
    /// Let a user in no more; never the last admin
    Delete {
        /// Its name
        name: String,
    },
}

fn role(text: &str) -> Result<Role, String> {
    Role::ALL.into_iter().find(|role| role.name() == text).ok_or_else(|| "write read, operate or admin".into())
}

fn path(name: &str) -> String {
    format!("/v1/users/{}", segment(name))
}

pub fn run(command: &Command, client: &Client, output: &mut Output<'_>) -> Result<(), CallError> {
    match command {
        Command::Create { name, role, tenant } => {
            let body = CreateUser { name: name.clone(), role: *role, tenant: tenant.clone() };
            output.show(&client.post::<UserSecrets>("/v1/users", &body)?, secrets);
        }
        Command::List => output.show(&client.get::<Users>("/v1/users")?, |answer| {
            let row = |it: &User| [it.name.clone(), word(&it.role), it.access_key_id.clone(), it.created_time.clone()];
            list("no users", ["name", "role", "access key id", "created"], answer.users.iter().map(row))
        }),
        Command::Rotate { name } => {
            let answer: UserSecrets = client.post(&format!("{}/rotate", path(name)), &serde_json::json!({}))?;
            output.show(&answer, secrets);
        }
        Command::Delete { name } => {
            client.delete(&path(name))?;
            output.done(format_args!("user {name} is deleted"));
        }
    }
    Ok(())
}

/// In a form that a shell can take over.
fn secrets(it: &UserSecrets) -> String {
    format!(
        "# {} ({}); shown this once\nexport AWS_ACCESS_KEY_ID={}\nexport AWS_SECRET_ACCESS_KEY={}\nexport LEAT_TOKEN={}",
        it.user.name,
        it.user.role.name(),
        it.user.access_key_id,
        it.secret_access_key,
        it.token
    )
}
