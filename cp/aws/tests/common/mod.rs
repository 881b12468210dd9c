//! Requests on a model, as the control plane carries them out, and what their answers say.
#![allow(dead_code, reason = "each test needs a part of it")]

use leat_aws::operation::{self, Caller, Context, Reply, Run};
use leat_aws::{Params, form};
use leat_model::rest::Role;
use leat_model::{Error, Id, Limits, Model, Now, Site};
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::Value;

pub const NOW: Now = Now { wall_ms: 1_700_000_000_000, mono_ms: 5_000 };

pub fn caller() -> Caller {
    Caller { name: "root".into(), access_key_id: "AKIA1".into(), role: Role::Admin, tenant: None }
}

/// An empty model.
pub fn model() -> Model {
    Model::new(Site { without_data_plane: true, ..Site::default() }, Limits::default(), [1, 2])
}

/// Carries out what an operation asks for. `import` does what the control plane does with a certificate and its key.
pub fn carry_out<B>(
    model: &mut Model,
    id: Id,
    run: impl FnOnce(&Context<'_>) -> Result<Reply<B>, Error>,
    import: impl FnOnce(&mut Model, &leat_model::rest::ImportCertificate) -> Result<String, Error>,
) -> Result<B, Error> {
    let caller = caller();
    let reply = run(&Context { model, now: NOW, caller: &caller, id })?;
    match reply {
        Reply::Answer(answer) => Ok(answer),
        Reply::Change(command, answer) => {
            let mut new = model.clone();
            let effects = new.apply(command, NOW)?;
            *model = new;
            answer(&Context { model, now: NOW, caller: &caller, id }, &effects)
        }
        Reply::Import(request, answer) => {
            let arn = import(model, &request)?;
            answer(&Context { model, now: NOW, caller: &caller, id }, &arn)
        }
        Reply::Events(..) => panic!("no events here"),
    }
}

/// The texts of an answer of the query protocol by their paths, such as `vpcSet.1.vpcId=vpc-1`; of an error its code and message.
pub fn query(model: &mut Model, version: &str, action: &str, form: &str) -> Result<Vec<String>, (String, String)> {
    query_with(model, version, action, form, |_, _| panic!("no certificate"))
}

pub fn query_with(
    model: &mut Model,
    version: &str,
    action: &str,
    form: &str,
    import: impl FnOnce(&mut Model, &leat_model::rest::ImportCertificate) -> Result<String, Error>,
) -> Result<Vec<String>, (String, String)> {
    let operation = operation::of_query(version, action).expect(action);
    let Run::Query(run) = operation.run else { panic!("of another protocol") };
    let params = Params::new(form::decode(form.as_bytes()).expect("a form"));
    match carry_out(model, Id(0xabc), |context| run(context, &params), import) {
        Ok(content) => Ok(flat(&operation::answer(operation, content, "request"))),
        Err(error) => {
            let (_, xml) = operation::error_answer(operation.service, &error, "request");
            let said = flat(&xml);
            let of = |key: &str| said.iter().find_map(|line| line.split_once(key)).expect(key).1.to_owned();
            Err((of("Code="), of("Message=")))
        }
    }
}

pub fn json_with(
    model: &mut Model,
    target: &str,
    request: &Value,
    import: impl FnOnce(&mut Model, &leat_model::rest::ImportCertificate) -> Result<String, Error>,
) -> Result<Value, (String, String)> {
    let operation = operation::of_target(target).expect(target);
    let Run::Json(run) = operation.run else { panic!("of another protocol") };
    let result = carry_out(model, Id(0xabc), |context| run(context, request), import);
    result.map_err(|error| (operation::code_name(operation.service, error.code).to_owned(), error.message))
}

/// The texts of an XML document by their paths from below the root; elements of lists have numbers instead of their names.
pub fn flat(xml: &str) -> Vec<String> {
    let mut reader = Reader::from_str(xml);
    let (mut path, mut lines): (Vec<(String, usize)>, Vec<String>) = (Vec::new(), Vec::new());
    let mut text = String::new();
    loop {
        match reader.read_event().expect("XML") {
            Event::Start(start) => {
                let name = start.name().as_ref().to_string();
                let name = match (matches!(&*name, "item" | "member"), path.last_mut()) {
                    (true, Some((_, count))) => {
                        *count += 1;
                        count.to_string()
                    }
                    _ => name,
                };
                path.push((name, 0));
                text.clear();
            }
            Event::Empty(_) | Event::Decl(_) => {}
            Event::Text(part) => text.push_str(&part),
            Event::GeneralRef(reference) => text.push_str(&format!("&{};", &*reference)),
            Event::End(_) => {
                if !text.is_empty() {
                    let names: Vec<&str> = path.iter().skip(1).map(|(name, _)| name.as_str()).collect();
                    lines.push(format!("{}={text}", names.join(".")));
                }
                text.clear();
                path.pop();
            }
            Event::Eof => return lines,
            other => panic!("{other:?}"),
        }
    }
}
