//! The control plane is killed at any of its system calls, and its disk is full.

#![forbid(unsafe_code)]

use anyhow::{Context, Result, bail, ensure};
use leat_testbed::{ApiConnection, Bed, BedOptions, HTTP_PORT, Traced, VIP, e2e, http_many, program, tally, wait_for};
use serde_json::{Value, json};
use std::fs::File;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A change: method, path, body.
type Change = (&'static str, &'static str, Value);

/// Changes that bring the configuration back to where it was. Each changes several records.
fn changes() -> Vec<Change> {
    let nodes = json!([{"zone": "zone-a", "address": "10.1.0.10"}, {"zone": "zone-b", "address": "10.1.0.20"}]);
    let targets: Vec<Value> = (1..=20).map(|n| json!({"id": format!("10.2.0.{n}")})).collect();
    let attributes = json!({"deregistration_delay.timeout_seconds": "7", "preserve_client_ip.enabled": "true"});
    vec![
        ("POST", "/v1/target-groups", json!({"name": "a", "protocol": "TCP", "port": 80})),
        ("POST", "/v1/target-groups/a/targets", json!({"targets": targets})),
        ("POST", "/v1/load-balancers", json!({"name": "a", "nodes": nodes})),
        ("POST", "/v1/load-balancers/a/listeners", json!({"protocol": "TCP", "port": 80, "targetGroup": "a"})),
        ("PATCH", "/v1/target-groups/a/attributes", json!({"attributes": attributes})),
        ("PATCH", "/v1/load-balancers/a/listeners/80", json!({"port": 81})),
        ("DELETE", "/v1/load-balancers/a/listeners/81", Value::Null),
        ("DELETE", "/v1/load-balancers/a", Value::Null),
        ("DELETE", "/v1/target-groups/a", Value::Null),
    ]
}

fn call(api: &mut ApiConnection, (method, path, body): &Change) -> Result<u16> {
    Ok(api.call(method, path, (!body.is_null()).then_some(body))?.0)
}

/// The configuration as somebody outside sees it.
fn configuration(api: &mut ApiConnection) -> Result<Vec<Value>> {
    let mut shown = Vec::new();
    for path in
        ["/v1/load-balancers", "/v1/load-balancers/a/listeners", "/v1/target-groups", "/v1/target-groups/a/targets"]
    {
        let (_, mut answer) = api.call("GET", path, None)?;
        // Health changes with time.
        for target in list(&mut answer["targets"]) {
            target["health"] = Value::Null;
        }
        for group in list(&mut answer["targetGroups"]) {
            group["targetCounts"] = Value::Null;
        }
        for zone in list(&mut answer["loadBalancers"]).flat_map(|it| list(&mut it["availabilityZones"])) {
            zone["health"] = Value::Null;
        }
        shown.push(answer);
    }
    Ok(shown)
}

/// The members of an array; none of what is not one.
fn list(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_array_mut().into_iter().flatten()
}

/// What is known of a control plane that was killed.
struct Known {
    /// The configuration before the change that was under way, if it is known.
    before: Option<Vec<Value>>,
    /// The change that is next, or under way.
    next: usize,
    /// That change was answered: it must be there.
    is_answered: bool,
    /// How many changes were seen to be whole after a kill, and how many to be absent.
    whole: u64,
    absent: u64,
}

impl Known {
    /// Looks what became of the change that was under way, then makes one change after the other until the connection ends.
    ///
    /// The outer error is for the test to fail; the inner one is the end.
    fn go_on(&mut self, socket: &Path) -> Result<Result<()>> {
        let changes = changes();
        let Ok(mut api) = ApiConnection::open(socket) else { return Ok(Err(anyhow::anyhow!("not there yet"))) };
        macro_rules! or_end {
            ($result:expr) => {
                match $result {
                    Ok(value) => value,
                    Err(error) => return Ok(Err(error)),
                }
            };
        }
        let now = or_end!(configuration(&mut api));
        if let Some(before) = &self.before {
            if *before == now && !self.is_answered {
                self.absent += 1;
            } else {
                // The change under way was made, and whole, if making it again changes nothing.
                or_end!(call(&mut api, &changes[self.next]));
                let again = or_end!(configuration(&mut api));
                let answered = if self.is_answered { "answered, and " } else { "" };
                ensure!(
                    again == now,
                    "{:?} was {answered}made by half or not at all. Before: {before:#?}\nfound: {now:#?}\nmade again: {again:#?}",
                    changes[self.next]
                );
                self.whole += 1;
                self.next = (self.next + 1) % changes.len();
            }
        }
        (self.before, self.is_answered) = (Some(now), false);
        loop {
            let status = or_end!(call(&mut api, &changes[self.next]));
            // One that was made just before the kill, but not seen to be, is made again.
            ensure!((200..300).contains(&status) || status == 404, "{:?}: {status}", changes[self.next]);
            self.is_answered = true;
            self.before = Some(or_end!(configuration(&mut api)));
            (self.next, self.is_answered) = ((self.next + 1) % changes.len(), false);
        }
    }
}

fn arguments(directory: &Path) -> Vec<String> {
    let path = |name: &str| directory.join(name).display().to_string();
    let fixed = ["--without-data-plane", "--listen", "127.0.0.1:0", "--store"].map(str::to_owned);
    fixed.into_iter().chain([path("leat.redb"), "--socket".into(), path("api.sock")]).collect()
}

/// leat-cp is killed at system calls spread evenly over a start and two rounds of changes. `LEAT_KILLS` says how often.
///
/// req: ERR-11, DEL-03
#[test]
fn every_change_is_whole_or_absent_after_a_kill() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let kills: u64 = std::env::var("LEAT_KILLS").map_or(Ok(40), |text| text.parse())?;
    let directory = std::env::temp_dir().join(format!("leat-durability-{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let _cleared = Cleared(directory.clone());
    let log = File::options().create(true).append(true).open(directory.join("log"))?;
    let socket = directory.join("api.sock");
    let mut known = Known { before: None, next: 0, is_answered: false, whole: 0, absent: 0 };
    // The first run only counts: two rounds of changes, which end where they began.
    let mut all = u64::MAX;
    let program = program("leat-cp")?;
    for number in 0..=kills {
        let stops = if number == 0 { u64::MAX } else { 1 + (number - 1) * all / kills };
        let over = Arc::new(AtomicBool::new(false));
        let enough = Arc::new(AtomicBool::new(false));
        let client = {
            let (socket, over, enough) = (socket.clone(), Arc::clone(&over), Arc::clone(&enough));
            let rounds = if number == 0 { 2 } else { 0 };
            let mut known =
                std::mem::replace(&mut known, Known { before: None, next: 0, is_answered: false, whole: 0, absent: 0 });
            std::thread::spawn(move || {
                if rounds > 0 {
                    let result = count_rounds(&socket, rounds);
                    enough.store(true, Ordering::Release);
                    return result.map(|()| known);
                }
                while !over.load(Ordering::Acquire) {
                    known.go_on(&socket)?.err();
                    std::thread::sleep(Duration::from_millis(1));
                }
                anyhow::Ok(known)
            })
        };
        let traced = Traced::start(&program, &arguments(&directory), log.try_clone()?)?;
        let result = traced.run(stops, || enough.load(Ordering::Acquire));
        over.store(true, Ordering::Release);
        let seen = client.join().expect("the client's thread");
        let count = result.with_context(|| std::fs::read_to_string(directory.join("log")).unwrap_or_default())?;
        known = seen.with_context(|| format!("kill {number} at {stops} of {all}"))?;
        if number == 0 {
            all = count;
        }
    }
    println!(
        "{kills} kills over {all} entries and exits of system calls: the change under way was whole {} times, absent {} times",
        known.whole, known.absent
    );
    ensure!(known.whole + known.absent > kills / 4, "too few kills met a change");
    Ok(())
}

/// Makes all changes so often.
fn count_rounds(socket: &Path, rounds: usize) -> Result<()> {
    let mut api = wait_for("leat-cp", Duration::from_secs(60), || ApiConnection::open(socket).ok())?;
    for _ in 0..rounds {
        for change in changes() {
            configuration(&mut api)?;
            let status = call(&mut api, &change)?;
            ensure!((200..300).contains(&status), "{change:?}: {status}");
        }
    }
    Ok(())
}

/// A directory that goes with the test.
struct Cleared(PathBuf);

impl Drop for Cleared {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a script where the appliance's processes see their files.
fn beside(bed: &Bed, script: &str) -> Result<()> {
    let pid = bed.appliance.process.pid().to_string();
    let output =
        Command::new("nsenter").args(["-t", &pid, "-m", "sh", "-ec", script]).output().context("no nsenter")?;
    ensure!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn requests(bed: &Bed) -> Result<()> {
    let counts = tally(http_many(bed.cli(), SocketAddrV4::new(VIP, HTTP_PORT), 40, 8)?)?;
    ensure!(counts.len() == 4, "requests went to {counts:?}");
    Ok(())
}

/// A full disk: changes are refused and change nothing, traffic goes on, a control plane that is started anew serves what it has, and
/// when there is room again, changes are made again.
///
/// req: ERR-11
#[test]
fn a_full_disk_refuses_changes_and_nothing_else() -> Result<()> {
    let Some(_machine) = e2e() else { return Ok(()) };
    let bed = Bed::start(&BedOptions::default())?;
    let state = bed.run.dir().join("state").display().to_string();
    // A small disk of its own, in the namespace that `ip netns exec` has made for the appliance's mounts.
    beside(
        &bed,
        &format!("cp -a {state} {state}.kept; mount -t tmpfs -o size=6m leat {state}; cp -a {state}.kept/. {state}/"),
    )?;
    let killed = bed.appliance.kill_control_plane()?;
    bed.appliance.wait_control_plane(killed)?;
    let transfers = bed.start_transfers("full", 50)?;
    beside(&bed, &format!("dd if=/dev/zero of={state}/fill bs=4096 2>/dev/null || true"))?;

    let rest = &bed.appliance.rest;
    let group = |number: usize| json!({"name": format!("more-{number}"), "protocol": "TCP", "port": 80});
    // The store's file may have some room inside.
    let mut made = 0;
    let refused = loop {
        let reply = rest.call("POST", "/v1/target-groups", Some(&group(made)))?;
        if reply.status == 503 {
            break reply;
        }
        ensure!(reply.status == 201, "{reply:?}");
        made += 1;
        ensure!(made < 1000, "the disk is never full");
    };
    ensure!(refused.code() == "ServiceUnavailable" && refused.message().contains("nothing was changed"), "{refused:?}");
    let before = rest.get("/v1/target-groups")?;
    ensure!(before["targetGroups"].as_array().is_some_and(|groups| groups.len() == 3 + made), "{before}");
    let reply = rest.call("POST", "/v1/target-groups", Some(&group(made + 1)))?;
    ensure!(reply.status == 503, "the disk is still full: {reply:?}");
    requests(&bed)?;

    let killed = bed.appliance.kill_control_plane()?;
    bed.appliance.wait_control_plane(killed)?;
    ensure!(rest.get("/v1/target-groups")? == before, "the configuration has changed");
    let reply = rest.call("POST", "/v1/target-groups", Some(&group(made)))?;
    ensure!(reply.status == 503, "the disk is still full after a restart: {reply:?}");
    requests(&bed)?;

    beside(&bed, &format!("rm {state}/fill"))?;
    rest.expect("POST", "/v1/target-groups", Some(&group(made)))?;
    let after = rest.get("/v1/target-groups")?;
    let killed = bed.appliance.kill_control_plane()?;
    bed.appliance.wait_control_plane(killed)?;
    ensure!(rest.get("/v1/target-groups")? == after, "the configuration has changed");
    let Ok(_) = bed.finish_transfers(transfers) else { bail!("transfers failed") };
    bed.finish()
}
