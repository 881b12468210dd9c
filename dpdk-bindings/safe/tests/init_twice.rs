//! The EAL starts once per process; arguments that cannot work are refused before it starts.

mod common;

use leat_dpdk::{Eal, EalError};

#[test]
fn second_init_is_refused() {
    let refusal = |argument: &str| Eal::init(&[argument]).map(drop).unwrap_err();
    for argument in ["--help", "-h", "--log-level=help", "--proc-type=secondary", "--proc-type=auto"] {
        assert!(matches!(refusal(argument), EalError::Unsupported(refused) if refused == argument));
    }
    assert_eq!(refusal("a\0b").to_string(), r#""a\0b" contains a NUL byte"#);

    let eal = common::start_eal("init-twice", "0", &[]);
    let again = refusal("--no-huge");
    assert!(matches!(again, EalError::AlreadyStarted), "{again}");

    drop(eal);
    assert!(
        matches!(refusal("--no-huge"), EalError::AlreadyStarted),
        "cleaning up does not make a second start possible"
    );
}
