//! Conversion of destinations from Python's settings.

use std::path::PathBuf;

use pyo3::prelude::*;

use super::convert::seconds;
use super::errors::ConfigError;
use crate::delivery::{RemoteSettings, ResponseLog, Service};
use crate::http::{Address, find_cloud_now};
use crate::protocol::{
    CloudEndpoints, Credentials, LimitOverrides, OptionError, Options, destination_schemes, format_named,
    format_of_service,
};

/// An HTTP destination.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(super) struct RemoteArguments {
    url: String,
    headers: Vec<(String, String)>,
    /// Whether plain HTTP to another machine is allowed.
    allow_http: bool,
    /// The time limit of a request in seconds.
    timeout: f64,
    /// PEM certificates.
    ca: Option<Vec<u8>>,
    /// The name of the wire format.
    protocol: String,
    limits: LimitArguments,
    options: OptionArguments,
    /// The settings of a service; `None` for a destination that a URL names.
    wire: Option<WireArguments>,
}

/// Limits that override the format's own.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct LimitArguments {
    max_events: Option<f64>,
    max_bytes: Option<f64>,
    /// Seconds.
    linger: Option<f64>,
    concurrency: Option<f64>,
}

/// The options of a format that a URL names.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct OptionArguments {
    dialect: Option<String>,
    uncompressed: bool,
    resource: Vec<(String, String)>,
    server_batches: bool,
}

/// The settings of a service with its own wire format.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct WireArguments {
    service: String,
    account: String,
    former: Vec<String>,
    keeps_answers: bool,
    /// The batch settings of Token Trackr.
    batches: Option<BatchArguments>,
}

#[derive(FromPyObject)]
#[pyo3(from_item_all)]
struct BatchArguments {
    size: usize,
    /// Linger: how long events wait for others before they are sent, in seconds.
    interval: f64,
    attempts: u32,
    fallback: Option<PathBuf>,
    /// Base URLs of the metadata services of AWS, Azure and Google Cloud.
    cloud: Option<(String, String, String)>,
}

impl TryFrom<RemoteArguments> for RemoteSettings {
    type Error = PyErr;

    fn try_from(given: RemoteArguments) -> PyResult<Self> {
        let timeout = seconds("timeout", given.timeout)?;
        let mut address = Address::new(&given.url, &given.headers, given.allow_http)?.with_timeout(timeout);
        if let Some(pem) = given.ca {
            address = address.with_ca(pem)?;
        }
        let Some(wire) = given.wire else {
            let limits = given.limits.to_core()?;
            let format = format_named(&given.protocol)
                .ok_or_else(|| ConfigError::new_err("destination: protocol: unknown name"))?;
            let OptionArguments { dialect, uncompressed, resource, server_batches } = given.options;
            let options = Options {
                dialect,
                is_uncompressed: uncompressed,
                resource,
                url_path: address.path().to_owned(),
                server_batches,
                ..Options::default()
            };
            (format.check)(&options)?;
            return Ok(Self { address, format, options, limits, service: None, answers: None });
        };
        let (mut options, mut limits) = (Options::default(), LimitOverrides::default());
        if let Some(batches) = wire.batches {
            options.spill_dir = batches.fallback;
            options.cloud = batches.cloud.map(endpoints);
            limits.max_events = Some(batches.size);
            limits.linger = Some(seconds("interval", batches.interval)?);
            limits.attempts = Some(batches.attempts);
        }
        Ok(Self {
            address,
            format: format_of_service(&wire.service),
            options,
            limits,
            service: Some(Service { name: wire.service, account: wire.account, former: wire.former }),
            answers: wire.keeps_answers.then(ResponseLog::default),
        })
    }
}

impl LimitArguments {
    fn to_core(&self) -> PyResult<LimitOverrides> {
        Ok(LimitOverrides::new(self.max_events, self.max_bytes, self.linger, self.concurrency)?)
    }
}

#[doc = stub_doc!("destination_schemes")]
#[pyfunction]
#[pyo3(name = "destination_schemes")]
pub(super) fn schemes() -> Vec<String> {
    destination_schemes()
}

#[doc = stub_doc!("credential_headers")]
#[pyfunction]
#[pyo3(signature = (protocol, user, token))]
pub(super) fn credential_headers(
    protocol: &str,
    user: Option<String>,
    token: Option<String>,
) -> PyResult<Vec<(&'static str, String)>> {
    let format = format_named(protocol).ok_or_else(|| ConfigError::new_err("destination: protocol: unknown name"))?;
    if user.is_some() && !format.has_users {
        return Err(OptionError::User.into());
    }
    Ok((format.headers)(&Credentials { user: user.as_deref(), token: token.as_deref() }))
}

#[doc = stub_doc!("check_destination")]
#[pyfunction]
pub(super) fn check_destination(destination: RemoteArguments) -> PyResult<()> {
    RemoteSettings::try_from(destination).map(drop)
}

fn endpoints((aws, azure, gcp): (String, String, String)) -> CloudEndpoints {
    CloudEndpoints { aws, azure, gcp }
}

#[doc = stub_doc!("cloud")]
#[pyfunction]
pub(super) fn cloud(py: Python<'_>, aws: String, azure: String, gcp: String) -> (&'static str, Option<String>) {
    let found = py.detach(|| find_cloud_now(&endpoints((aws, azure, gcp))));
    (found.cloud_provider, found.instance_id)
}
