//! What a format may have to know of the machine it runs on, as values. `http` finds it out.

use serde::Serialize;

/// Where clouds tell a machine that it is theirs: base URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEndpoints {
    /// Amazon's.
    pub aws: String,
    /// Microsoft's.
    pub azure: String,
    /// Google's.
    pub gcp: String,
}

/// The cloud that a machine is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cloud {
    /// `aws`, `azure`, `gcp` or `on-prem`.
    pub cloud_provider: &'static str,
    /// The machine's name there.
    pub instance_id: Option<String>,
}

impl Cloud {
    /// The machine is in no cloud.
    pub const ON_PREMISES: Self = Self { cloud_provider: "on-prem", instance_id: None };
}

/// What is to be found out before the first request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// In which cloud this machine is.
    Cloud(CloudEndpoints),
}

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// In which cloud this machine is.
    Cloud(Cloud),
}

impl Probe {
    /// What holds where nothing could be found out.
    #[must_use]
    pub fn unknown(&self) -> Finding {
        match self {
            Self::Cloud(_) => Finding::Cloud(Cloud::ON_PREMISES),
        }
    }
}
