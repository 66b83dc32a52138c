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

/// The group and version of KubeArmor's policies.
const KUBEARMOR: &str = "security.kubearmor.com/v1";

/// What KubeArmor enforces by on a node, as [`ENFORCER`] says; nothing where KubeArmor is not there: it is if
/// its definitions are, and the node has the label.
///
/// # Errors
/// [`ClusterError`], where that cannot be told.
pub async fn kubearmor_on(client: &Client, node: &str) -> Result<Option<String>, ClusterError> {
    // Everybody may ask for the groups that are served.
    let served = client.list_api_group_resources(KUBEARMOR).await;
    match served {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
        Err(error) => {
            let doing = Doing {
                verb: "get",
                resource: KUBEARMOR,
                namespace: None,
                name: None,
            };
            return Err(ClusterError::of(doing, error));
        }
    }
    let api: Api<Node> = Api::all(client.clone());
    let found = api.get_metadata(node).await.map_err(|error| {
        let doing = Doing {
            verb: "get",
            resource: "nodes",
            namespace: None,
            name: Some(node.to_owned()),
        };
        ClusterError::of(doing, error)
    })?;
    Ok(found.labels().get(ENFORCER).cloned())
}
