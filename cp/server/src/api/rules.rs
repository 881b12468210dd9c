//! Rules of listeners of application load balancers.

use axum::extract::State;
use leat_model::application::Change;
use leat_model::error::Shown;
use leat_model::{Code, Command, Error, Id, Model, rest};

use super::App;
use super::body::{Answer, Body, Nothing, Params, created, ok, port};
use super::listeners::{self, Listener};

/// The rules of a listener, by priority.
fn all(model: &Model, lb: &str, at: &str) -> Result<Vec<rest::Rule>, Error> {
    match listeners::find(model, lb, port(at)?)? {
        Listener::Application(listener) => {
            Ok(model.rules_of(listener.id).into_iter().map(|rule| model.show_rule(rule)).collect())
        }
        Listener::Network(_) => {
            let message =
                "listeners of load balancers of type network have no rules; change the listener's target group";
            Err(Error::new(Code::InvalidConfigurationRequest, message))
        }
    }
}

fn find(model: &Model, lb: &str, at: &str, wanted: &str) -> Result<rest::Rule, Error> {
    let found = all(model, lb, at)?.into_iter().find(|rule| rule.id == wanted || rule.arn == wanted);
    found.ok_or_else(|| Error::new(Code::RuleNotFound, format!("the listener has no rule {}", Shown(wanted))))
}

pub(super) async fn list(State(app): State<App>, Params((lb, at)): Params<(String, String)>) -> Answer<rest::Rules> {
    ok(rest::Rules { rules: all(&app.state.model(), &lb, &at)? })
}

pub(super) async fn create(
    State(app): State<App>,
    Params((lb, at)): Params<(String, String)>,
    Body(spec): Body<rest::RuleSpec>,
) -> Answer<rest::Rule> {
    all(&app.state.model(), &lb, &at)?;
    let (port, id) = (port(&at)?, Id(rand::random()));
    let change = Change::CreateRule { load_balancer: lb.clone(), port, spec, id };
    let changed = app.change(Command::Application(change)).await?;
    created(find(&changed.model, &lb, &at, &id.to_string())?)
}

pub(super) async fn show(
    State(app): State<App>,
    Params((lb, at, rule)): Params<(String, String, String)>,
) -> Answer<rest::Rule> {
    ok(find(&app.state.model(), &lb, &at, &rule)?)
}

/// Changes what is given, all or nothing.
pub(super) async fn modify(
    State(app): State<App>,
    Params((lb, at, rule)): Params<(String, String, String)>,
    Body(request): Body<rest::ModifyRule>,
) -> Answer<rest::Rule> {
    let arn = find(&app.state.model(), &lb, &at, &rule)?.arn;
    let rest::ModifyRule { priority, conditions, actions } = request;
    let priority = priority.map(|priority| Change::SetRulePriorities(vec![(arn.clone(), priority)]));
    let change = Change::ModifyRule { rule: arn.clone(), conditions, actions };
    let commands = priority.into_iter().chain([change]).map(Command::Application).collect();
    let changed = app.change(Command::All(commands)).await?;
    ok(find(&changed.model, &lb, &at, &arn)?)
}

pub(super) async fn delete(
    State(app): State<App>,
    Params((lb, at, rule)): Params<(String, String, String)>,
) -> Answer<Nothing> {
    let rule = find(&app.state.model(), &lb, &at, &rule)?.arn;
    app.change(Command::Application(Change::DeleteRule { rule })).await?;
    ok(Nothing {})
}
