//! Faults that a run can be given on purpose, between the components, so that the checks themselves are tested.

use clap::ValueEnum;

/// A planted fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Plant {
    /// A published table still names a target that is draining.
    DrainingInTable,
    /// The same behind the check of tables, so that a packet has to find it.
    DrainingChosen,
    /// A table has a target of another group.
    ForeignTarget,
    /// An lcore's generation is acknowledged when the main thread has read it.
    EarlyAcknowledgement,
    /// An lcore goes back to an older snapshot.
    OldSnapshot,
    /// The verdict of a node's check is booked for another node.
    WrongNode,
    /// A change is acknowledged though its records were not written.
    LostCommit,
    /// Zonal shifts do not expire.
    EndlessShift,
    /// DNS names nothing when no zone serves.
    EmptyDns,
    /// A forwarded packet is not counted.
    Uncounted,
    /// After a restart another lcore has a flow, too.
    TwinFlow,
    /// After a restart a flow has another target.
    MovedFlow,
    /// A flow is gone after a restart, and nothing has counted its end.
    LostFlow,
    /// An event of an lcore is not read.
    LostEvent,
    /// Checks of targets that recover are not made any more.
    LostCheck,
}

impl Plant {
    /// What is expected to find it.
    pub const fn found_by(self) -> &'static str {
        match self {
            Self::DrainingInTable => "I5",
            Self::DrainingChosen => "I4",
            Self::ForeignTarget => "group",
            Self::EarlyAcknowledgement | Self::OldSnapshot => "I9",
            Self::WrongNode => "verdict",
            Self::LostCommit => "I7",
            Self::EndlessShift | Self::EmptyDns => "I8",
            Self::Uncounted => "I1",
            Self::TwinFlow => "I2",
            Self::MovedFlow => "I3",
            Self::LostFlow => "I10",
            Self::LostEvent => "rings",
            Self::LostCheck => "liveness",
        }
    }
}
