//! The nodes, by the enforcer that KubeArmor has on each.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};

use super::error::{ClusterError, Doing};
use super::pages::{SMALL, each};

/// Label of a node: which of the kernel's security modules KubeArmor enforces by there.
pub const ENFORCER: &str = "kubearmor.io/enforcer";

/// The nodes by their names, each with what [`ENFORCER`] says; nothing where KubeArmor has not said it.
///
/// # Errors
/// [`ClusterError`], where the list cannot be had whole.
pub async fn enforcers(client: &Client) -> Result<BTreeMap<String, Option<String>>, ClusterError> {
    let api: Api<Node> = Api::all(client.clone());
    let page = ListParams::default().limit(SMALL);
    let mut nodes = BTreeMap::new();
    let list = async |page: &ListParams| api.list_metadata(page).await;
    each(page, &Doing::list("nodes", None), list, |node| {
        let label = node.labels().get(ENFORCER).cloned();
        nodes.insert(node.name_any(), label);
    })
    .await?;
    Ok(nodes)
}
