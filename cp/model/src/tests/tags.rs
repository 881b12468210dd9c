//! Tags.

use super::*;
use crate::tags::from_pairs;

fn add(resources: &[&str], tags: &[(&str, &str)]) -> Command {
    Command::AddTags {
        resources: resources.iter().map(|arn| (*arn).into()).collect(),
        tags: tags.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
    }
}

fn remove(resources: &[&str], keys: &[&str]) -> Command {
    Command::RemoveTags {
        resources: resources.iter().map(|arn| (*arn).into()).collect(),
        keys: keys.iter().map(|key| (*key).into()).collect(),
    }
}

impl Bench {
    /// ARNs of a load balancer, a listener and a target group.
    fn arns(&self) -> [String; 3] {
        let lb = self.model.show_load_balancers().load_balancers.remove(0).arn;
        let listener = self.model.listener_arn(self.model.listeners().next().expect("a listener"));
        [lb, listener, self.model.show_target_groups().target_groups.remove(0).arn]
    }
}

/// req: TAG-01, TAG-06, TAG-08, TG-11
#[test]
fn resources_have_tags() {
    let mut bench = Bench::serving(&[]);
    let arns = bench.arns();
    let arns: Vec<&str> = arns.iter().map(String::as_str).collect();
    bench.ok(add(&arns, &[("team", "a"), ("stage", "test")]));
    bench.ok(add(&arns[..1], &[("team", "b")]));
    assert_eq!(bench.model.tags_of(arns[0]).expect("tags")["team"], "b");
    for arn in &arns[1..] {
        assert_eq!(bench.model.tags_of(arn).expect("tags")["team"], "a");
    }
    assert!(bench.ok(add(&arns[..1], &[("team", "b")])).changed.is_empty());
    bench.ok(remove(&arns, &["team", "nothing"]));
    for arn in &arns {
        assert_eq!(bench.model.tags_of(arn).expect("tags").keys().collect::<Vec<_>>(), ["stage"]);
    }
    // All or nothing over resources, and each kind has its code.
    let nowhere = |arn: &str| {
        let last = if arn.ends_with('0') { "1" } else { "0" };
        format!("{}{last}", &arn[..arn.len() - 1])
    };
    let codes = [Code::LoadBalancerNotFound, Code::ListenerNotFound, Code::TargetGroupNotFound];
    for (arn, code) in arns.iter().zip(codes) {
        let strange = nowhere(arn);
        assert_eq!(bench.refused(add(&[arns[0], &strange], &[("x", "y")])).0, code);
        assert_eq!(bench.refused(remove(&[arns[0], &strange], &["stage"])).0, code);
        assert_eq!(bench.model.tags_of(&strange).expect_err("there is none").code, code);
    }
    assert_eq!(bench.refused(add(&["web"], &[("x", "y")])).0, Code::ValidationError);
}

/// req: TAG-03, TAG-04, TAG-05
#[test]
fn keys_and_values_have_a_form() {
    let mut bench = Bench::serving(&[]);
    let [arn, ..] = bench.arns();
    let long = |n| "é".repeat(n);
    let (k128, k129, v256, v257) = (long(128), long(129), long(256), long(257));
    for (key, value) in
        [("a", ""), ("Größe +-=._:/@1", "日本 9"), (&k128, "x"), ("b", &v256), ("A", "x"), ("not-aws:", "x")]
    {
        bench.ok(add(&[&arn], &[(key, value)]));
    }
    assert_eq!(bench.model.tags_of(&arn).expect("tags").len(), 6, "a and A are two");
    for (key, value) in [
        ("", "x"),
        (" a", "x"),
        ("a ", "x"),
        ("a", " x"),
        ("a", "x "),
        ("a#", "x"),
        ("a", "x\n"),
        ("a", "<x>"),
        (&k129, "x"),
        ("a", &v257),
        ("aws:a", "x"),
        ("AWS:a", "x"),
        ("a", "aws:x"),
    ] {
        assert_eq!(bench.refused(add(&[&arn], &[(key, value)])).0, Code::ValidationError, "{key:?} {value:?}");
    }
    assert_eq!(bench.refused(remove(&[&arn], &["aws:a"])).0, Code::ValidationError);
}

/// req: TAG-02, TAG-05, TAG-07
#[test]
fn there_are_50_tags_and_no_key_twice() {
    let mut bench = Bench::serving(&[]);
    let [arn, ..] = bench.arns();
    let keys: Vec<String> = (0..51).map(|n| format!("k{n}")).collect();
    let pairs: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "v")).collect();
    assert_eq!(bench.refused(add(&[&arn], &pairs)).0, Code::TooManyTags);
    bench.ok(add(&[&arn], &pairs[..50]));
    assert_eq!(bench.refused(add(&[&arn], &pairs[50..])).0, Code::TooManyTags);
    bench.ok(add(&[&arn], &[("k0", "another value")]));
    // Those of AWS's own do not count.
    let lb = bench.model.load_balancers.values_mut().next().expect("it");
    lb.tags.remove("k0");
    lb.tags.insert("aws:system".into(), "x".into());
    bench.ok(add(&[&arn], &[("k0", "v")]));

    assert_eq!(bench.refused(add(&[&arn], &[("k1", "a"), ("k1", "b")])).0, Code::DuplicateTagKeys);
    let pairs = |keys: &[&str]| keys.iter().map(|key| ((*key).to_owned(), "v".to_owned())).collect::<Vec<_>>();
    assert_eq!(from_pairs(pairs(&["a", "A"])).expect("two keys").len(), 2);
    assert_eq!(from_pairs(pairs(&["a", "a"])).expect_err("one key").code, Code::DuplicateTagKeys);
}

/// req: TG-11, TAG-01, TAG-02
#[test]
fn tags_at_creation_follow_the_same_rules() {
    let mut bench = Bench::serving(&[]);
    let bad = |key: &str| rest::Tags::from([(key.to_owned(), "x".to_owned())]);
    let many: rest::Tags = (0..51).map(|n| (format!("k{n}"), "v".into())).collect();
    for (tags, code) in [(bad("aws:a"), Code::ValidationError), (many, Code::TooManyTags)] {
        let command = bench.special_group("other", |request| request.tags = tags.clone());
        assert_eq!(bench.refused(command).0, code);
        let Command::CreateListener { load_balancer, mut request, id } =
            bench.listener("web", Protocol::Tcp, 81, "web")
        else {
            unreachable!()
        };
        request.tags = tags;
        assert_eq!(bench.refused(Command::CreateListener { load_balancer, request, id }).0, code);
    }
    let command = bench.special_group("other", |request| request.tags = bad("team"));
    bench.ok(command);
    let group = bench.model.show_target_group(bench.model.find_target_group("other").expect("it"));
    assert_eq!(bench.model.tags_of(&group.arn).expect("tags"), &group.tags);
    assert_eq!(group.tags["team"], "x");
}
