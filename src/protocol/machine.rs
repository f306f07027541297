//! Facts about the machine that a format may need, as values. `http` finds them out.

use serde::Serialize;

/// Base URLs of the clouds' metadata services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloudEndpoints {
    /// AWS.
    pub aws: String,
    /// Azure.
    pub azure: String,
    /// Google Cloud.
    pub gcp: String,
}

/// The cloud that a machine is in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cloud {
    /// `aws`, `azure`, `gcp` or `on-prem`.
    pub cloud_provider: &'static str,
    /// The machine's id in that cloud.
    pub instance_id: Option<String>,
}

impl Cloud {
    /// The machine is in no cloud.
    pub const ON_PREMISES: Self = Self { cloud_provider: "on-prem", instance_id: None };
}

/// A question that must be answered before the first request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Which cloud is this machine in?
    Cloud(CloudEndpoints),
}

/// The answer to a [`Probe`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The cloud that this machine is in.
    Cloud(Cloud),
}

impl Probe {
    /// The answer to use if none was found.
    #[must_use]
    pub fn unknown(&self) -> Finding {
        match self {
            Self::Cloud(_) => Finding::Cloud(Cloud::ON_PREMISES),
        }
    }
}
