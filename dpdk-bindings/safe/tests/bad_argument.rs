//! An option that EAL does not know makes an error that names it.

use leat_dpdk::Eal;

#[test]
fn unknown_option_is_a_readable_error() {
    let error = Eal::init(&["--no-huge", "--no-shconf", "--no-such-option"]).map(drop).unwrap_err().to_string();
    assert!(error.contains("--no-such-option") && error.contains("Invalid argument (errno 22)"), "{error}");
}
