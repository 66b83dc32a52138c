//! The nodes, by the enforcer that KubeArmor has on each.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};

use super::error::{ClusterError, Doing};

/// Label of a node: which of the kernel's security modules KubeArmor enforces by there.
pub const ENFORCER: &str = "kubearmor.io/enforcer";

/// So many nodes are asked for at a time.
const PAGE: u32 = 500;

/// The nodes by their names, each with what [`ENFORCER`] says; nothing where KubeArmor has not said it.
///
/// # Errors
/// [`ClusterError`], where the list cannot be had whole.
pub async fn enforcers(client: &Client) -> Result<BTreeMap<String, Option<String>>, ClusterError> {
    let api: Api<Node> = Api::all(client.clone());
    let mut page = ListParams::default().limit(PAGE);
    let mut nodes = BTreeMap::new();
    loop {
        let list = api.list_metadata(&page).await.map_err(|error| {
            let doing = Doing {
                verb: "list",
                resource: "nodes",
                namespace: None,
                name: None,
            };
            ClusterError::of(doing, error)
        })?;
        for node in list.items {
            let label = node.labels().get(ENFORCER).cloned();
            nodes.insert(node.name_any(), label);
        }
        match list.metadata.continue_ {
            Some(next) if !next.is_empty() => page = page.continue_token(&next),
            _ => return Ok(nodes),
        }
    }
}
