//! Finds out which cloud this machine is in, by asking the clouds' metadata services.
//!
//! Anything may answer at these addresses, for example a proxy with an error page. A response counts only if it has the form that the
//! cloud documents. All services are asked at once. The result is kept for the lifetime of the process.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use reqwest::{Client, RequestBuilder};

use super::builder::{Peer, client_builder};
use crate::protocol::{Cloud, CloudEndpoints, Finding, Probe};

/// A metadata service answers within milliseconds.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of a response. The longest valid one is a session token.
const MAX_RESPONSE_BYTES: usize = 1024;

/// The last result. Not behind a lock, because a thread could hold the lock while the process forks.
static FOUND: ArcSwapOption<(CloudEndpoints, Cloud)> = ArcSwapOption::const_empty();

/// Answers a format's question. Takes at most a second.
pub async fn find_out(probe: &Probe) -> Finding {
    match probe {
        Probe::Cloud(endpoints) => Finding::Cloud(find(endpoints).await),
    }
}

/// Asks all metadata services and waits for the responses, at most a second.
async fn find(endpoints: &CloudEndpoints) -> Cloud {
    if let Some(found) = FOUND.load().as_ref().filter(|found| found.0 == *endpoints) {
        return found.1.clone();
    }
    // The addresses are link-local, so no proxy leads to them. They use plain HTTP, which needs no certificates.
    let builder = client_builder(Peer { has_proxy: false, is_encrypted: false, ca: None }).timeout(2 * TIMEOUT);
    let Ok(client) = builder.redirect(reqwest::redirect::Policy::none()).build() else { return Cloud::ON_PREMISES };
    let asked = [
        ("aws", tokio::spawn(aws(client.clone(), endpoints.aws.clone()))),
        ("azure", tokio::spawn(azure(client.clone(), endpoints.azure.clone()))),
        ("gcp", tokio::spawn(gcp(client, endpoints.gcp.clone()))),
    ];
    let deadline = tokio::time::Instant::now() + TIMEOUT;
    let (mut cloud, mut is_known) = (Cloud::ON_PREMISES, true);
    for (cloud_provider, answer) in asked {
        match tokio::time::timeout_at(deadline, answer).await {
            Ok(Ok(Some(id))) => {
                cloud = Cloud { cloud_provider, instance_id: Some(id) };
                break;
            }
            Ok(_) => {}
            // There is no service, or a busy one. The result is not kept, so that the next caller asks again.
            Err(_) => is_known = false,
        }
    }
    if is_known || cloud != Cloud::ON_PREMISES {
        FOUND.store(Some(Arc::new((endpoints.clone(), cloud.clone()))));
    }
    cloud
}

/// The blocking form of `find`.
#[must_use]
pub fn find_now(endpoints: &CloudEndpoints) -> Cloud {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return Cloud::ON_PREMISES };
    let found = runtime.block_on(find(endpoints));
    // Do not wait for a running name lookup.
    runtime.shutdown_background();
    found
}

/// The body of a response with status 200, if it is a short text.
async fn answer(request: RequestBuilder) -> Option<String> {
    let mut response = request.send().await.ok().filter(|response| response.status() == 200)?;
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.ok()? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > MAX_RESPONSE_BYTES {
            return None;
        }
    }
    Some(String::from_utf8(bytes).ok()?.trim().to_owned())
}

async fn aws(client: Client, base: String) -> Option<String> {
    let token = client.put(format!("{base}/latest/api/token")).header("X-aws-ec2-metadata-token-ttl-seconds", "21600");
    let token = answer(token).await?;
    let id = client.get(format!("{base}/latest/meta-data/instance-id")).header("X-aws-ec2-metadata-token", token);
    answer(id).await.filter(|id| is_aws_id(id))
}

async fn azure(client: Client, base: String) -> Option<String> {
    let path = "/metadata/instance/compute/vmId?api-version=2021-02-01&format=text";
    answer(client.get(format!("{base}{path}")).header("Metadata", "true")).await.filter(|id| is_azure_id(id))
}

async fn gcp(client: Client, base: String) -> Option<String> {
    let request = client.get(format!("{base}/computeMetadata/v1/instance/id")).header("Metadata-Flavor", "Google");
    answer(request).await.filter(|id| is_gcp_id(id))
}

/// `i-` and 8 or 17 hexadecimal digits.
fn is_aws_id(id: &str) -> bool {
    id.strip_prefix("i-")
        .is_some_and(|rest| matches!(rest.len(), 8 | 17) && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A UUID.
fn is_azure_id(id: &str) -> bool {
    uuid::Uuid::try_parse(id).is_ok()
}

/// A positive 64-bit number.
fn is_gcp_id(id: &str) -> bool {
    id.parse::<u64>().is_ok_and(|id| id > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_valid_only_in_the_form_of_its_cloud() {
        assert!(is_aws_id("i-0123456789abcdef0") && is_aws_id("i-01234567"));
        assert!(is_azure_id("13f56399-bd52-4150-9748-7190aae1ff21") && is_gcp_id("4567890123456789012"));
        for page in ["<html>404</html>", "", "ok", "i-", "i-0123456789abcdeg0", "i-012345678"] {
            assert!(!is_aws_id(page) && !is_azure_id(page) && !is_gcp_id(page), "{page}");
        }
    }
}
