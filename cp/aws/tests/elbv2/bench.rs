//! A model, and a client of it.

use leat_aws::operation::{self, Caller, Context, Reply, Run};
use leat_aws::{Operation, Params};
use leat_model::rest::{self, Role};
use leat_model::{Code, Command, Error, Id, Limits, Model, Now, Site};
use quick_xml::Reader;
use quick_xml::events::Event;

pub const START: &str = "arn:aws:elasticloadbalancing:on-prem-1:000000000000:";
pub const NOW: Now = Now { wall_ms: 1_700_000_000_007, mono_ms: 5_000 };

/// A control plane, and an administrator who calls it.
#[derive(Clone)]
pub struct Bench {
    pub model: Model,
    pub now: Now,
    pub next_id: u64,
    pub caller: Caller,
}

/// What an operation said: code and message of an error, or each text of the answer with the path that leads to it, such as
/// `LoadBalancers.1.LoadBalancerName=web`.
pub type Said = Result<Vec<String>, (Code, String)>;

impl Bench {
    /// Without a data plane.
    pub fn new() -> Self {
        Self::of(Site { without_data_plane: true, ..Site::default() })
    }

    /// With one that is not there yet.
    pub fn of(site: Site) -> Self {
        let caller = Caller { name: "root".into(), access_key_id: String::new(), role: Role::Admin, tenant: None };
        Self { model: Model::new(site, Limits::default(), [1, 2]), now: NOW, next_id: 0, caller }
    }

    /// A load balancer `web` in `zone-a`, a target group `web` of addresses, and a TCP listener on port 80 between them.
    pub fn serving() -> Self {
        Self::new().with_listener()
    }

    /// The same with a data plane that is not there yet.
    pub fn checking() -> Self {
        Self::of(Site::default()).with_listener()
    }

    fn with_listener(self) -> Self {
        let mut bench = self;
        bench.balancer("web", "10.1.0.10");
        bench.ok("CreateTargetGroup", "Name=web Protocol=TCP Port=8080 TargetType=ip");
        bench.ok("CreateListener", &format!("LoadBalancerArn={} Protocol=TCP Port=80 {}", lb(1), forward(2)));
        bench
    }

    /// A load balancer whose node was given by its address.
    pub fn balancer(&mut self, name: &str, address: &str) {
        let node = rest::NodeSpec {
            zone: "zone-a".into(),
            address: address.into(),
            ipv6_address: None,
            secondary_addresses: vec![],
        };
        let request = rest::CreateLoadBalancer { name: name.into(), nodes: vec![node], ..Default::default() };
        self.next_id += 1;
        let id = Id(self.next_id);
        self.model.apply(Command::CreateLoadBalancer { request, id }, self.now).expect("a load balancer");
    }

    /// Runs an operation as the control plane does: a command on a copy of the model. Each answer is parsed as XML.
    pub fn call(&mut self, action: &str, form: &str) -> Said {
        let pairs = form.split_whitespace().map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (with_members(key), value.to_owned())
        });
        self.call_params(action, &Params::new(pairs))
    }

    pub fn call_params(&mut self, action: &str, params: &Params) -> Said {
        let operation = operation::of_query("2015-12-01", action).expect(action);
        match self.run(operation, params) {
            Ok(content) => Ok(flat(&operation::answer(operation, content, "request"), &format!("{action}Result"))),
            Err(error) => {
                let (status, xml) = operation::error_answer(operation.service, &error, "request");
                let said = flat(&xml, "Error");
                assert_eq!(status, if error.code == Code::InternalFailure { 500 } else { 400 }, "{error}");
                let message = said.iter().find_map(|line| line.strip_prefix("Message=")).expect("a message");
                assert!(said.contains(&format!("Code={}", error.code.name())), "{xml}");
                assert!(!message.is_empty() && message.chars().count() < 2000, "{message}");
                Err((error.code, message.to_owned()))
            }
        }
    }

    fn run(&mut self, operation: &Operation, params: &Params) -> Result<Vec<leat_aws::Element>, Error> {
        let Run::Query(run) = operation.run else { panic!("of another protocol") };
        self.next_id += 1;
        let id = Id(self.next_id);
        let context = Context { model: &self.model, now: self.now, caller: &self.caller, id };
        match run(&context, params)? {
            Reply::Answer(answer) => Ok(answer),
            Reply::Change(command, answer) => {
                let mut model = self.model.clone();
                let effects = model.apply(command, self.now)?;
                self.model = model;
                answer(&Context { model: &self.model, now: self.now, caller: &self.caller, id }, &effects)
            }
            Reply::Import(..) | Reply::Events(..) => panic!("none of these"),
        }
    }

    /// An answer of the API of Classic load balancers.
    #[allow(dead_code, reason = "only some tests have Classic load balancers")]
    pub fn classic(&mut self, action: &str, form: &str) {
        let operation = operation::of_query("2012-06-01", action).expect(action);
        let pairs = form.split_whitespace().filter_map(|pair| pair.split_once('='));
        let params = Params::new(pairs.map(|(key, value)| (with_members(key), value.to_owned())));
        self.run(operation, &params).unwrap_or_else(|error| panic!("{action} {form}: {error}"));
    }

    /// An answer of an operation that is not refused.
    pub fn ok(&mut self, action: &str, form: &str) -> Vec<String> {
        self.call(action, form).unwrap_or_else(|error| panic!("{action} {form}: {error:?}"))
    }

    /// Code and message of an operation that is refused, which changes nothing.
    pub fn refused(&mut self, action: &str, form: &str) -> (Code, String) {
        let before = self.model.clone();
        let error = self.call(action, form).expect_err(&format!("{action} {form}"));
        assert!(self.model == before, "{action} {form} was refused and has changed something");
        error
    }
}

/// `Tags.1.Key` → `Tags.member.1.Key`.
fn with_members(key: &str) -> String {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let parts = key.split('.').map(|part| if is_number(part) { format!("member.{part}") } else { part.to_owned() });
    parts.collect::<Vec<_>>().join(".")
}

/// ARNs of what [`Bench::serving`] makes, and of others with the same names.
pub fn lb(id: u64) -> String {
    format!("{START}loadbalancer/net/web/{id:016x}")
}

pub fn listener(lb: u64, id: u64) -> String {
    format!("{START}listener/net/web/{lb:016x}/{id:016x}")
}

pub fn group(name: &str, id: u64) -> String {
    format!("{START}targetgroup/{name}/{id:016x}")
}

/// The action of a listener that forwards to group `web`.
pub fn forward(id: u64) -> String {
    format!("DefaultActions.1.Type=forward DefaultActions.1.TargetGroupArn={}", group("web", id))
}

/// Value of a line of an answer.
pub fn value<'s>(said: &'s [String], path: &str) -> &'s str {
    let found = said.iter().find_map(|line| line.strip_prefix(path)?.strip_prefix('='));
    found.unwrap_or_else(|| panic!("no {path} in {said:#?}"))
}

/// Every text below the element `root` with the path that leads to it; members are numbered from 1, empty lists end with `[]`.
fn flat(xml: &str, root: &str) -> Vec<String> {
    let mut reader = Reader::from_str(xml);
    let mut path: Vec<(String, usize)> = Vec::new();
    let mut lines = Vec::new();
    let mut text = String::new();
    let mut leaf = true;
    let line = |path: &[(String, usize)], value: &str| {
        let at = path.iter().position(|(name, _)| name == root)?;
        let names = path[at + 1..]
            .iter()
            .zip(&path[at..])
            .map(|((name, _), (_, members))| if name == "member" { members.to_string() } else { name.clone() });
        let names: Vec<String> = names.collect();
        (!names.is_empty()).then(|| format!("{}{value}", names.join(".")))
    };
    loop {
        match reader.read_event().expect("well-formed XML") {
            Event::Start(start) => {
                let name = start.name().as_ref().to_owned();
                if let (Some((_, members)), "member") = (path.last_mut(), name.as_str()) {
                    *members += 1;
                }
                path.push((name, 0));
                text.clear();
                leaf = true;
            }
            Event::End(_) => {
                if leaf {
                    lines.extend(line(&path, &format!("={text}")));
                }
                leaf = false;
                path.pop();
                text.clear();
            }
            Event::Empty(empty) => {
                path.push((empty.name().as_ref().to_owned(), 0));
                lines.extend(line(&path, "[]"));
                path.pop();
                leaf = false;
            }
            Event::Text(raw) => text.push_str(&raw),
            Event::GeneralRef(name) => {
                let name: &str = &name;
                match name.strip_prefix('#') {
                    Some(number) => {
                        let code = match number.strip_prefix('x') {
                            Some(hex) => u32::from_str_radix(hex, 16),
                            None => number.parse(),
                        };
                        text.extend(char::from_u32(code.expect("a number")));
                    }
                    None => text.push_str(quick_xml::escape::resolve_xml_entity(name).expect("a known entity")),
                }
            }
            Event::Eof => break,
            _ => {}
        }
    }
    assert!(path.is_empty(), "{xml}");
    lines
}
