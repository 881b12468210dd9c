//! The verification finds and counts exactly the faults that are planted, over a DPDK ring.

use std::process::Command;

#[test]
fn every_planted_fault_is_found() {
    let output = Command::new(env!("CARGO_BIN_EXE_leat-gen"))
        .args(["self-test", "--packets", "200000", "--plant"])
        .arg("loss=0.001,reorder=0.001,corrupt=0.001,duplicate=0.001,misroute=0.001,seed=3")
        .output()
        .unwrap();
    let (out, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && out.ends_with("PASS\n"), "{out}\n{log}");
    // Nothing was compared with nothing.
    assert!(!out.contains(" 0 planted"), "{out}");
}
