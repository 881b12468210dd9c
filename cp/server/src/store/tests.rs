use super::faulty::{FaultyDisk, after_power_loss};
use super::*;
use std::collections::BTreeMap;

fn changes(pairs: &[(&str, Option<&str>)]) -> Vec<(String, Option<Vec<u8>>)> {
    pairs.iter().map(|(key, value)| ((*key).into(), value.map(Into::into))).collect()
}

#[test]
fn what_is_committed_is_there_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("leat.redb");
    let mut store = RedbStore::open(&path).expect("a new store");
    assert_eq!(store.load().expect("empty"), []);
    store.commit(&changes(&[("a", Some("1")), ("b", Some("2"))])).expect("written");
    store.commit(&changes(&[("a", None), ("c", Some("3"))])).expect("written");
    assert!(matches!(RedbStore::open(&path), Err(StoreError::Locked(_))), "one process at a time");
    drop(store);
    let mut store = RedbStore::open(&path).expect("the store again");
    let expected: Vec<Record> = vec![("b".into(), b"2".into()), ("c".into(), b"3".into())];
    assert_eq!(store.load().expect("records"), expected);
    store.replace(&[("d".into(), b"4".into())]).expect("replaced");
    assert_eq!(store.load().expect("records"), [("d".to_owned(), b"4".to_vec())]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).expect("metadata").permissions());
    assert_eq!(mode & 0o777, 0o600, "for its user alone");
}

#[test]
fn what_cannot_be_opened_says_what_to_do() {
    let directory = tempfile::tempdir().expect("a directory");
    let message = |path: &Path| RedbStore::open(path).expect_err("not a store").to_string();
    let missing = message(&directory.path().join("none/leat.redb"));
    assert!(missing.contains("Make the directory"), "{missing}");
    let is_directory = message(directory.path());
    assert!(is_directory.contains("Give a file's name"), "{is_directory}");
    let other = directory.path().join("other");
    std::fs::write(&other, "something else ".repeat(1000)).expect("a file");
    let damaged = message(&other);
    assert!(damaged.contains("move the file away"), "{damaged}");
    assert_eq!(std::fs::read(&other).expect("untouched").len(), 15_000);
}

#[test]
fn another_schema_is_refused() {
    let disk = FaultyDisk::default();
    let store = disk.store().expect("a new store");
    let database = store.database.as_ref().expect("open");
    let write = database.begin_write().expect("a transaction");
    write.open_table(ABOUT).expect("the table").insert("schema", 2).expect("a version");
    write.commit().expect("written");
    drop(store);
    let error = disk.store().expect_err("a later version");
    assert!(matches!(error, StoreError::Version { found: 2, .. }), "{error}");
}

/// A write that fails leaves everything as it was, and the store works again when the disk does.
#[test]
fn a_failing_disk_is_survived() {
    let disk = FaultyDisk::default();
    let mut store = disk.store().expect("a new store");
    store.commit(&changes(&[("a", Some("1"))])).expect("written");
    disk.set_failing(true);
    let error = store.commit(&changes(&[("b", Some("2"))])).expect_err("read-only");
    assert!(error.to_string().contains("Mount the file system writable"), "{error}");
    assert!(store.commit(&changes(&[("b", Some("2"))])).is_err());
    assert!(store.replace(&[]).is_err());
    disk.set_failing(false);
    store.replace(&[("a".into(), b"1".into())]).expect("works again");
    store.commit(&changes(&[("c", Some("3"))])).expect("works again");
    drop(store);
    let records = disk.store().expect("the store").load().expect("records");
    assert_eq!(records.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["a", "c"]);
}

/// Power is lost at any moment, with any of some subsets of the unsynced sectors written: every acknowledged transaction is there,
/// and the one under way is there or not, whole.
#[test]
fn power_may_be_lost_at_any_moment() {
    let disk = FaultyDisk::default();
    let mut store = disk.store().expect("a new store");
    let mut acknowledged: Vec<(usize, BTreeMap<String, Vec<u8>>)> = Vec::new();
    let mut content: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    disk.0.lock().expect("the disk").history = Some(Vec::new());
    for turn in 0..6u8 {
        let value = vec![turn; 100 + 700 * usize::from(turn)];
        let change = vec![(format!("k{}", turn % 3), Some(value)), (format!("k{}", (turn + 1) % 3), None)];
        store.commit(&change).expect("written");
        for (key, value) in change {
            match value {
                Some(value) => content.insert(key, value),
                None => content.remove(&key),
            };
        }
        let moments = disk.0.lock().expect("the disk").history.as_ref().map_or(0, Vec::len);
        acknowledged.push((moments, content.clone()));
    }
    let history = disk.0.lock().expect("the disk").history.take().expect("a history");
    let mut cuts = 0;
    for (moment, (synced, sectors)) in history.iter().enumerate() {
        let patterns: Vec<Box<dyn Fn(usize) -> bool>> = vec![
            Box::new(|_| false),
            Box::new(|_| true),
            Box::new(|n| n % 2 == 0),
            Box::new(|n| n % 2 == 1),
            Box::new(|n| n < sectors.len() / 2),
            Box::new(|n| n >= sectors.len() / 2),
            Box::new(|n| n.wrapping_mul(2_654_435_761) >> 7 & 1 == 0),
        ];
        for kept in patterns {
            let disk = FaultyDisk::with(after_power_loss(synced, sectors, kept));
            let found: BTreeMap<_, _> =
                disk.store().expect("it opens").load().expect("it can be read").into_iter().collect();
            // The transactions acknowledged by then, or one more.
            let done = acknowledged.iter().take_while(|(moments, _)| *moments <= moment).count();
            let before = done.checked_sub(1).map(|n| acknowledged[n].1.clone()).unwrap_or_default();
            let after = acknowledged.get(done).map(|(_, content)| content.clone());
            assert!(found == before || Some(&found) == after.as_ref(), "moment {moment}: {:?}", found.keys());
            cuts += 1;
        }
    }
    assert!(cuts > 80, "{cuts} cuts were tried");
}
