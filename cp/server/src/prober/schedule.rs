//! When each check is due. Knows no sockets and no clock: time is passed in.
//!
//! A new check is due within [`FIRST_PROBE_MAX`]; many new ones are spread over that time. Afterwards a check is due every
//! interval ±10 % after the moment it was due before (S16.5), never twice at once: one that is due while its probe still
//! runs starts when that probe ends.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::{Duration, Instant};

use rand::Rng;

use super::{Check, CheckId};

/// New checks start within this time, however many there are (HC-33 allows one second).
const FIRST_PROBE_MAX: Duration = Duration::from_millis(500);
/// What one more new check adds to the time over which new checks are spread.
const FIRST_PROBE_STEP: Duration = Duration::from_millis(2);

/// The checks and when they are due.
#[derive(Default)]
pub struct Schedule {
    entries: HashMap<CheckId, Entry>,
    /// (when, ticket, check); an entry whose ticket is no longer the check's is skipped.
    queue: BinaryHeap<Reverse<(Instant, u64, CheckId)>>,
    tickets: u64,
}

struct Entry {
    check: Check,
    ticket: u64,
    last_due: Option<Instant>,
    running: bool,
    postponed: bool,
}

impl Schedule {
    /// Makes `checks` the whole set. Returns the checks whose running probe must be given up, because they are gone or
    /// look at another target now. A check whose interval changed keeps its rhythm: its next probe comes one new
    /// interval after the last one was due, at once when that is past.
    pub fn apply(&mut self, checks: Vec<Check>, now: Instant, rng: &mut impl Rng) -> Vec<CheckId> {
        let checks: HashMap<CheckId, Check> = checks.into_iter().map(|check| (check.id, check)).collect();
        let mut abandoned = Vec::new();
        self.entries.retain(|id, entry| {
            let kept = checks.contains_key(id);
            if !kept && entry.running {
                abandoned.push(*id);
            }
            kept
        });
        let mut fresh = Vec::new();
        for (id, check) in checks {
            match self.entries.get_mut(&id) {
                Some(entry) if entry.check.source == check.source && entry.check.target == check.target => {
                    let interval_changed = entry.check.interval != check.interval;
                    entry.check = check;
                    if let (true, Some(last)) = (interval_changed, entry.last_due) {
                        let due = (last + jittered(entry.check.interval, rng)).max(now);
                        self.push(id, due);
                    }
                }
                Some(entry) => {
                    if entry.running {
                        abandoned.push(id);
                    }
                    fresh.push(check);
                }
                None => fresh.push(check),
            }
        }
        let count = u32::try_from(fresh.len()).unwrap_or(u32::MAX);
        let spread = FIRST_PROBE_STEP.saturating_mul(count).min(FIRST_PROBE_MAX);
        for check in fresh {
            let id = check.id;
            self.entries.insert(id, Entry { check, ticket: 0, last_due: None, running: false, postponed: false });
            self.push(id, now + spread.mul_f64(rng.random()));
        }
        abandoned
    }

    /// When the next check is due.
    pub fn next_due(&mut self) -> Option<Instant> {
        loop {
            let &Reverse((due, ticket, id)) = self.queue.peek()?;
            if self.entries.get(&id).is_some_and(|entry| entry.ticket == ticket) {
                return Some(due);
            }
            self.queue.pop();
        }
    }

    /// Takes a check that is due and counts it as running until [`Self::finished`].
    pub fn start_next(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Check> {
        while let Some(due) = self.next_due().filter(|due| *due <= now) {
            let Reverse((_, _, id)) = self.queue.pop()?;
            let entry = self.entries.get_mut(&id)?;
            if entry.running {
                entry.postponed = true;
                entry.ticket = 0;
                continue;
            }
            entry.running = true;
            let check = entry.check.clone();
            let next = due + jittered(check.interval, rng);
            entry.last_due = Some(due);
            // Far behind (the process was stopped, say): carry on from now, without catching up.
            let next = if next > now { next } else { now + jittered(check.interval, rng) };
            self.push(id, next);
            return Some(check);
        }
        None
    }

    /// The probe of a check ended.
    pub fn finished(&mut self, id: CheckId, now: Instant) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.running = false;
        if std::mem::take(&mut entry.postponed) {
            self.push(id, now);
        }
    }

    fn push(&mut self, id: CheckId, due: Instant) {
        self.tickets += 1;
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.ticket = self.tickets;
            entry.postponed = false;
            self.queue.push(Reverse((due, self.tickets, id)));
        }
    }
}

/// The interval ±10 %.
fn jittered(interval: Duration, rng: &mut impl Rng) -> Duration {
    interval.mul_f64(rng.random_range(0.9..=1.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use std::net::SocketAddr;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn check(id: CheckId) -> Check {
        Check {
            id,
            source: [10, 1, 0, 10].into(),
            target: ([10, 2, 0, 1], 80).into(),
            interval: INTERVAL,
            timeout: Duration::from_secs(10),
            proxy_protocol: false,
            request: None,
        }
    }

    fn rng() -> StdRng {
        StdRng::seed_from_u64(7)
    }

    /// Runs the schedule until `end`, each probe ending at once, and returns when each check was started.
    fn run(schedule: &mut Schedule, end: Instant, rng: &mut StdRng) -> HashMap<CheckId, Vec<Instant>> {
        let mut starts: HashMap<CheckId, Vec<Instant>> = HashMap::new();
        while let Some(now) = schedule.next_due().filter(|due| *due <= end) {
            let check = schedule.start_next(now, rng).expect("one is due");
            starts.entry(check.id).or_default().push(now);
            schedule.finished(check.id, now);
        }
        starts
    }

    #[test]
    fn first_probe_within_a_second_then_every_interval() {
        let (mut schedule, mut rng, begin) = (Schedule::default(), rng(), Instant::now());
        schedule.apply((0..5000).map(check).collect(), begin, &mut rng);
        let starts = run(&mut schedule, begin + INTERVAL * 20, &mut rng);
        assert_eq!(starts.len(), 5000);
        for times in starts.values() {
            assert!(times[0] <= begin + Duration::from_secs(1), "req: HC-33");
            for pair in times.windows(2) {
                let gap = pair[1] - pair[0];
                assert!(gap >= INTERVAL.mul_f64(0.9) && gap <= INTERVAL.mul_f64(1.1), "req: HC-05: {gap:?}");
            }
        }
    }

    /// Checks that all began together spread over the interval, and stay spread.
    #[test]
    fn thousands_do_not_burst() {
        let (mut schedule, mut rng, begin) = (Schedule::default(), rng(), Instant::now());
        schedule.apply((0..10_000).map(check).collect(), begin, &mut rng);
        let starts = run(&mut schedule, begin + INTERVAL * 110, &mut rng);
        // By tenths of an interval, after many of them: none has twice its share.
        let mut counts = [0; 100];
        for at in starts.values().flatten().filter_map(|at| at.checked_duration_since(begin + INTERVAL * 100)) {
            let tenth = (at.as_secs_f64() / INTERVAL.as_secs_f64() * 10.0) as usize;
            counts[tenth.min(99)] += 1;
        }
        assert!(counts.iter().all(|count| (500..2000).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_slow_probe_postpones_the_next_one() {
        let (mut schedule, mut rng, begin) = (Schedule::default(), rng(), Instant::now());
        schedule.apply(vec![check(1)], begin, &mut rng);
        let first = schedule.next_due().expect("due");
        assert!(schedule.start_next(first, &mut rng).is_some());
        let second = schedule.next_due().expect("due");
        assert!(schedule.start_next(second, &mut rng).is_none(), "the first still runs");
        assert_eq!(schedule.next_due(), None);
        let end = second + Duration::from_secs(1);
        schedule.finished(1, end);
        assert_eq!(schedule.next_due(), Some(end));
        assert!(schedule.start_next(end, &mut rng).is_some());
    }

    #[test]
    fn changes_keep_the_rhythm() {
        let (mut schedule, mut rng, begin) = (Schedule::default(), rng(), Instant::now());
        schedule.apply(vec![check(1)], begin, &mut rng);
        run(&mut schedule, begin + Duration::from_secs(1), &mut rng);
        let due = schedule.next_due();
        assert!(schedule.apply(vec![check(1)], begin, &mut rng).is_empty());
        assert_eq!(schedule.next_due(), due, "the same set again changes nothing");

        let shorter = Check { interval: Duration::from_secs(5), ..check(1) };
        assert!(schedule.apply(vec![shorter], begin, &mut rng).is_empty());
        let due = schedule.next_due().expect("due");
        assert!(due > begin && due <= begin + Duration::from_secs(7), "one new interval after the last one");

        let late = begin + Duration::from_secs(20);
        schedule.apply(vec![Check { interval: Duration::from_secs(10), ..check(1) }], late, &mut rng);
        assert_eq!(schedule.next_due(), Some(late), "at once when that is past");
    }

    #[test]
    fn another_target_starts_anew_and_gives_up_the_running_probe() {
        let (mut schedule, mut rng, begin) = (Schedule::default(), rng(), Instant::now());
        schedule.apply(vec![check(1), check(2)], begin, &mut rng);
        let later = begin + Duration::from_secs(1);
        while schedule.start_next(later, &mut rng).is_some() {}
        let moved = Check { target: SocketAddr::from(([10, 2, 0, 9], 80)), ..check(1) };
        let mut abandoned = schedule.apply(vec![moved], later, &mut rng);
        abandoned.sort_unstable();
        assert_eq!(abandoned, [1, 2]);
        assert!(schedule.next_due().expect("due") <= later + Duration::from_secs(1));
        schedule.finished(2, later);
        assert_eq!(schedule.start_next(later + Duration::from_secs(1), &mut rng).map(|check| check.id), Some(1));
    }

    #[test]
    fn a_long_pause_is_not_caught_up() {
        let (mut schedule, mut rng, begin) = (Schedule::default(), rng(), Instant::now());
        schedule.apply(vec![check(1)], begin, &mut rng);
        run(&mut schedule, begin + Duration::from_secs(1), &mut rng);
        let wake = begin + INTERVAL * 100;
        assert!(schedule.start_next(wake, &mut rng).is_some());
        schedule.finished(1, wake);
        assert!(schedule.next_due().expect("due") >= wake + INTERVAL.mul_f64(0.9));
    }
}
