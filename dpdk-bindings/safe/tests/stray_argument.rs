//! An argument that is no option would silently have no effect; it is an error instead.

use leat_dpdk::{Eal, EalError};

#[test]
fn stray_argument_is_named() {
    let error = Eal::init(&[
        "--no-huge",
        "vdev=net_null0",
        "-m",
        "64",
        "--no-pci",
        "--no-shconf",
        "--file-prefix=leat-test-stray",
    ])
    .map(drop)
    .unwrap_err();
    assert!(matches!(&error, EalError::StrayArgument(stray) if stray == "vdev=net_null0"), "{error}");
}
