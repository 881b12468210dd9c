use super::faulty::{Event, FaultyDisk};
use super::*;

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
    assert!(matches!(RedbStore::open(&path), Err(StoreError::Locked(_))), "the new file is held too");
    drop(store);
    assert_eq!(RedbStore::open(&path).expect("it").load().expect("records"), [("d".to_owned(), b"4".to_vec())]);
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

/// A disk with a store of a version and its records.
fn disk_of(version: u64, records: &[Record]) -> FaultyDisk {
    let disk = FaultyDisk::default();
    let store = disk.store().expect("a new store");
    let write = store.database.as_ref().expect("open").begin_write().expect("a transaction");
    write.open_table(ABOUT).expect("the table").insert("schema", version).expect("a version");
    for (key, value) in records {
        write.open_table(RECORDS).expect("the table").insert(key.as_str(), value.as_slice()).expect("a record");
    }
    write.commit().expect("written");
    drop(store);
    disk
}

#[test]
fn a_later_schema_is_refused() {
    let disk = disk_of(SCHEMA + 1, &[]);
    let before = disk.content();
    let error = disk.store().expect_err("a later version");
    assert!(matches!(error, StoreError::Version { found: 3, .. }), "{error}");
    assert!(error.to_string().contains("Run the version of leat-cp that wrote it"), "{error}");
    assert_eq!(disk.content().len(), before.len());
}

/// The records of a store that version 1 has written, one a line: key, tab, value.
fn written_by_1() -> Vec<Record> {
    let lines = include_str!("testdata/v1.txt").lines();
    lines
        .map(|line| line.split_once('\t').map(|(key, value)| (key.into(), value.into())).expect("key, tab, value"))
        .collect()
}

/// What version 1 has written is brought to this version whole, in a file of its own; the old one is kept.
#[test]
fn a_store_of_version_1_is_migrated() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("leat.redb");
    let content = disk_of(1, &written_by_1()).content();
    let mut bytes = vec![0; content.len()];
    content.read(0, &mut bytes);
    std::fs::write(&path, &bytes).expect("a store of version 1");
    let mut store = RedbStore::open(&path).expect("it is brought to this version");
    let records = store.load().expect("records");
    let model = |records| {
        let now = leat_model::Now { wall_ms: 0, mono_ms: 0 };
        leat_model::Model::load(leat_model::Site::default(), leat_model::Limits::default(), records, now)
    };
    let loaded = model(records.clone()).expect("a configuration");
    assert_eq!((loaded.epoch(), loaded.load_balancers().count(), loaded.target_groups().count()), (22, 2, 4));
    assert_eq!((loaded.targets().count(), loaded.listeners().count(), loaded.retired_listeners().count()), (7, 3, 2));
    drop(store);
    let stored =
        |name: &str| read(&path, std::fs::read(directory.path().join(name)).expect("a file")).expect("a store");
    assert_eq!(stored("leat.redb"), (SCHEMA, records));
    assert_eq!(stored("leat.redb.v1"), (1, written_by_1()));
}

#[test]
fn a_migration_that_cannot_be_written_leaves_the_old_store() {
    let disk = disk_of(1, &written_by_1());
    for step in 0.. {
        disk.fail_after(Some(step));
        let result = disk.store();
        disk.fail_after(None);
        if result.is_ok() {
            assert!(step > 10, "it took {step} writes only");
            break;
        }
    }
    let records = disk.store().expect("migrated").load().expect("records");
    assert_eq!(records.len(), written_by_1().len());
}

/// Power was lost while redb wrote its header, within the number of pages: no sum of old and new bytes is believed.
#[test]
fn a_length_that_was_half_written_is_not_believed() {
    let disk = FaultyDisk::default();
    let mut store = disk.store().expect("a new store");
    store.commit(&changes(&[("a", Some("1"))])).expect("written");
    let open = disk.content();
    for length in [0, 1, 0x18d, u32::MAX] {
        for field in [24, 28] {
            let mut content = open.clone();
            content.write(field, &length.to_le_bytes());
            let records = FaultyDisk::with(content).store().map(|mut store| store.load().expect("records"));
            assert_eq!(records.expect("a store"), [("a".to_owned(), b"1".to_vec())], "{length} at {field}");
        }
    }
}

/// Power was lost before a change counted, and what it had made the file longer by was lost too: what counted is there.
#[test]
fn a_change_whose_pages_were_lost_with_the_file_s_length_never_was() {
    let disk = FaultyDisk::default();
    let mut store = disk.store().expect("a new store");
    store.commit(&changes(&[("a", Some("1"))])).expect("written");
    let mut content = disk.content();
    let length = content.len();
    disk.keep_log();
    store.commit(&changes(&[("b", Some(&"x".repeat(2 * length)))])).expect("written");
    let log = disk.take_log();
    assert!(log.iter().any(|event| matches!(event, Event::Resize(_, to) if *to > length)), "it grows");
    for event in log.iter().take_while(|event| !matches!(event, Event::Sync(_))) {
        match event {
            Event::Write(_, offset, data) if offset + data.len() <= length => content.write(*offset, data),
            _ => {}
        }
    }
    let records = FaultyDisk::with(content).store().expect("a store").load().expect("records");
    assert_eq!(records, [("a".to_owned(), b"1".to_vec())]);
}

/// What is missing at the end of a file that was not closed is found, whatever its header says.
#[test]
fn a_file_that_was_cut_is_refused() {
    let disk = FaultyDisk::default();
    let mut store = disk.store().expect("a new store");
    let big = "x".repeat(9000);
    store.commit(&changes(&[("a", Some(&big)), ("b", Some(&big)), ("c", Some(&big))])).expect("written");
    let open = disk.content();
    let mut refused = 0;
    for pages in 1..open.len() / 4096 {
        let mut content = open.clone();
        content.resize(pages * 4096 + 17);
        assert!(FaultyDisk::with(content.clone()).store().is_err(), "{pages} pages and a piece");
        content.resize(pages * 4096);
        // redb panics when a page that is about to be free is missing; a process of its own finds that out first.
        match std::panic::catch_unwind(|| FaultyDisk::with(content).store()) {
            Ok(Ok(store)) => assert!(store.found.len() == 3, "{pages} pages: {:?}", store.found.len()),
            Ok(Err(_)) => refused += 1,
            Err(_) => {}
        }
    }
    assert!(refused > 9, "its records take more than that, {refused}");
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
