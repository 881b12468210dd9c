//! Whatever the settings and the health: what the nodes do, compared with the rules written down a second time, from the guide.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A target as drawn: its zone (0–2, 3: all), what each of the nodes found (0 nothing, 1 healthy, 2 unhealthy), whether it drains.
type Drawn = (u8, [u8; 3], bool);

/// Settings of the group and of the load balancer.
#[derive(Clone, Debug)]
struct Settings {
    /// Zones that have a node: 1–3.
    nodes: u8,
    balancer_crosses: bool,
    group_crosses: Option<bool>,
    healthy_count: u32,
    healthy_share: Option<u32>,
    /// What DNS demands beyond that.
    more_count: u32,
    more_share: u32,
    /// Bits of ports without a link.
    down: u8,
    shifted: Option<u8>,
}

fn settings() -> impl Strategy<Value = Settings> {
    let switches = (1..=3u8, any::<bool>(), proptest::option::of(any::<bool>()));
    let thresholds = (1..5u32, proptest::option::of(1..=100u32), 0..3u32, 0..50u32);
    let outside = (prop_oneof![3 => Just(0u8), 1 => 0..8u8], proptest::option::weighted(0.2, 0..3u8));
    (switches, thresholds, outside).prop_map(|(switches, thresholds, outside)| Settings {
        nodes: switches.0,
        balancer_crosses: switches.1,
        group_crosses: switches.2,
        healthy_count: thresholds.0,
        healthy_share: thresholds.1,
        more_count: thresholds.2,
        more_share: thresholds.3,
        down: outside.0,
        shifted: outside.1,
    })
}

impl Settings {
    fn crosses(&self) -> bool {
        self.group_crosses.unwrap_or(self.balancer_crosses)
    }

    fn dns_count(&self) -> u32 {
        self.healthy_count + self.more_count
    }

    fn dns_share(&self) -> Option<u32> {
        self.healthy_share.map(|share| (share + self.more_share).min(100))
    }

    fn shifted(&self) -> Option<u8> {
        self.shifted.filter(|zone| *zone < self.nodes && !self.crosses() && !self.balancer_crosses)
    }
}

/// A configuration as drawn, and the addresses of the targets.
fn build(settings: &Settings, drawn: &[Drawn]) -> (Bench, Vec<String>) {
    let mut bench = bench(settings.nodes, &[]);
    let share = |share: Option<u32>| share.map_or("off".to_owned(), |share| share.to_string());
    let crosses = match settings.group_crosses {
        None => "use_load_balancer_configuration",
        Some(true) => "true",
        Some(false) => "false",
    };
    let attributes = [
        (DNS_COUNT, settings.dns_count().to_string()),
        (HEALTHY_COUNT, settings.healthy_count.to_string()),
        (DNS_PERCENTAGE, share(settings.dns_share())),
        (HEALTHY_PERCENTAGE, share(settings.healthy_share)),
        (CROSS_ZONE, crosses.to_owned()),
    ];
    let attributes = attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    bench.ok(Command::ModifyAttributes { target_group: "web".into(), attributes });
    bench.set_cross_zone(if settings.balancer_crosses { "true" } else { "false" });
    let ids: Vec<String> = (0..drawn.len()).map(|n| format!("10.8.0.{}", n + 1)).collect();
    for (id, (zone, found, drains)) in ids.iter().zip(drawn) {
        bench.ok(in_zone("web", id, if *zone == 3 { "all" } else { zone_name(*zone) }));
        for (node, found) in (0..settings.nodes).zip(found) {
            if reaches(settings, *zone, node) && *found > 0 {
                bench.report(id, node, if *found == 1 { Healthy } else { Unhealthy });
            }
        }
        if *drains {
            bench.ok(deregister("web", &[id]));
        }
    }
    let down: Vec<String> = (0..3u8).filter(|n| settings.down & 1 << n != 0).map(|n| format!("p{n}")).collect();
    bench.ports_down(&down.iter().map(String::as_str).collect::<Vec<_>>());
    if let Some(zone) = settings.shifted() {
        bench.shift(zone_name(zone));
    }
    (bench, ids)
}

/// Whether a node may send to targets of a zone: 3 stands for all zones, and a zone counts only if it is enabled.
fn reaches(settings: &Settings, zone: u8, node: u8) -> bool {
    zone == 3 || zone == node || settings.crosses() && zone < settings.nodes
}

/// What a target is for a node: its own word, else what the others make of it (a majority; a tie is bad).
fn is_good(settings: &Settings, (zone, found, _): &Drawn, node: u8) -> bool {
    let found = &found[..usize::from(settings.nodes)];
    match found[usize::from(node)] {
        0 => {
            let heard: Vec<u8> = (0..settings.nodes)
                .zip(found)
                .filter(|(node, _)| reaches(settings, *zone, *node))
                .map(|(_, f)| *f)
                .collect();
            let good = heard.iter().filter(|found| **found == 1).count();
            good > heard.iter().filter(|found| **found == 2).count()
        }
        own => own == 1,
    }
}

/// Whether `good` of `all` are below a number or a share, or none.
fn is_below(good: usize, all: usize, count: u32, share: Option<u32>) -> bool {
    good < count as usize
        || share.is_some_and(|share| (good as f64 / all.max(1) as f64) * 100.0 + 1e-9 < f64::from(share))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Which targets each node chooses from, and which zones DNS names, is what the rules say; a name always stands for something.
    ///
    /// req: TGH-02, TGH-03, TGH-04, TGH-07, TGH-10, TGH-14, XZ-03, ZS-01, ZS-11, RT-05, S16.1, S16.8
    #[test]
    fn nodes_do_what_the_rules_say(
        settings in settings(),
        drawn in proptest::collection::vec((0..4u8, proptest::array::uniform3(0..3u8), proptest::bool::weighted(0.1)), 0..9),
    ) {
        let (bench, ids) = build(&settings, &drawn);
        let group = bench.model.find_target_group("web").expect("it").id;
        let mut serving = Vec::new();
        for node in 0..settings.nodes {
            let mine: Vec<(&String, &Drawn)> =
                ids.iter().zip(&drawn).filter(|(_, it)| reaches(&settings, it.0, node) && !it.2).collect();
            let good: Vec<&(&String, &Drawn)> = mine.iter().filter(|(_, it)| is_good(&settings, it, node)).collect();
            let opens = is_below(good.len(), mine.len(), settings.healthy_count, settings.healthy_share);
            let expected: BTreeSet<String> = if opens {
                mine.iter().map(|(id, _)| (*id).clone()).collect()
            } else {
                good.iter().map(|(id, _)| (*id).clone()).collect()
            };
            let chosen: BTreeSet<String> =
                bench.model.candidates(group, node).iter().map(|candidate| candidate.address.to_string()).collect();
            prop_assert_eq!(&chosen, &expected, "node {}", node);
            prop_assert_eq!(bench.model.mode(group, node) == crate::forward::Mode::All, opens);
            let is_out = settings.down & 1 << node != 0
                || settings.shifted() == Some(node)
                || is_below(good.len(), mine.len(), settings.dns_count(), settings.dns_share());
            if !is_out {
                serving.push(zone_name(node));
            }
        }
        if serving.is_empty() {
            serving = (0..settings.nodes).map(zone_name).collect();
        }
        prop_assert_eq!(bench.dns(), serving);

        // Connections to a target are reset by the nodes that found it bad and have enough others, and by no others.
        for (id, it) in ids.iter().zip(&drawn) {
            let bad = |node: u8| {
                let found = it.1[usize::from(node)];
                let shown = bench.health_of(id);
                let unknown = found == 0 || !reaches(&settings, it.0, node);
                if unknown { shown == Unhealthy } else { found == 2 }
            };
            let resets = |node: &u8| bad(*node) && bench.model.mode(group, *node) == crate::forward::Mode::Healthy;
            let nodes: Vec<u8> = (0..settings.nodes).filter(resets).collect();
            let expected = match nodes.iter().fold(0u64, |bits, node| bits | 1 << node) {
                0 if it.2 => Treatment::Draining,
                0 => Treatment::Active,
                _ if nodes.len() == usize::from(settings.nodes) => Treatment::Unhealthy,
                bits => Treatment::UnhealthyAt(bits),
            };
            prop_assert_eq!(bench.fate(id), expected);
        }
    }
}
