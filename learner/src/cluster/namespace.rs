//! A namespace, as far as KubeArmor goes by its annotations.

use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::error::{ClusterError, Doing};
use super::policies::MANAGER;
use crate::policy::meaning::Posture;

/// Annotation of a namespace: what becomes of files and programs that no rule allows.
pub const FILE_POSTURE: &str = "kubearmor-file-posture";

/// Annotation of a namespace and of a pod: what KubeArmor tells of.
pub const VISIBILITY: &str = "kubearmor-visibility";

/// What KubeArmor is told of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Its posture for files and programs; nothing where KubeArmor goes by its own configuration, whose
    /// default is audit.
    pub file_posture: Option<Posture>,
    /// As it is written.
    pub visibility: Option<String>,
}

fn doing(verb: &'static str, name: &str) -> Doing {
    Doing {
        verb,
        resource: "namespaces",
        namespace: None,
        name: Some(name.to_owned()),
    }
}

/// What a namespace is annotated with.
///
/// # Errors
/// [`ClusterError`].
pub async fn told(client: &Client, name: &str) -> Result<Told, ClusterError> {
    let api: Api<Namespace> = Api::all(client.clone());
    let namespace = api.get(name).await;
    let namespace = namespace.map_err(|error| ClusterError::of(doing("get", name), error))?;
    let annotations = namespace.metadata.annotations.unwrap_or_default();
    Ok(Told {
        // KubeArmor does not look at capital letters, and takes any other word for its own configuration.
        file_posture: annotations
            .get(FILE_POSTURE)
            .and_then(|word| word.to_ascii_lowercase().parse().ok()),
        visibility: annotations.get(VISIBILITY).cloned(),
    })
}

/// Annotates a namespace with its posture for files and programs, as [`MANAGER`], or with none takes back
/// the annotation that this manager has set. A person's own annotation is a conflict, and stays.
///
/// # Errors
/// [`ClusterError`]; then nothing has changed.
pub async fn set_file_posture(
    client: &Client,
    name: &str,
    posture: Option<Posture>,
    dry_run: bool,
) -> Result<(), ClusterError> {
    let api: Api<Namespace> = Api::all(client.clone());
    let mut how = PatchParams::apply(MANAGER);
    if dry_run {
        how = how.dry_run();
    }
    let mut annotated = json!({
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name},
    });
    if let Some(posture) = posture {
        annotated["metadata"]["annotations"] = json!({FILE_POSTURE: posture.to_string()});
    }
    let patched = api.patch(name, &how, &Patch::Apply(&annotated)).await;
    patched
        .map(drop)
        .map_err(|error| ClusterError::of(doing("patch", name), error))
}
