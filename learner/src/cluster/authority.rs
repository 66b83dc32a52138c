//! KubeArmor's certificate authority, as its operator keeps it in the cluster.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, ListParams};
use kube::{Client, ResourceExt as _};

use super::error::{ClusterError, Doing};
use super::pages::{SMALL, each};

/// What KubeArmor's operator labels the Secret with.
const LABEL: &str = "kubearmor-app=kubearmor-ca";

/// Why the authority cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NoAuthority {
    /// The API server refused, or cannot be reached.
    #[error(transparent)]
    Cluster(Box<ClusterError>),
    /// Nobody has labelled any.
    #[error(
        "no Secret in the cluster is labelled {LABEL}, as KubeArmor's operator labels its certificate authority; with \
         --tlsCertPath DIR that is read from files, and with --tlsCertProvider external a client's certificate"
    )]
    None,
    /// It is not told which of them signs the relay's certificate.
    #[error("{} Secrets in the cluster are labelled {LABEL}: {}", names.len(), names.join(", "))]
    Several {
        /// As `namespace/name`, in order.
        names: Vec<String>,
    },
    /// It is none that `kubectl create secret tls` makes.
    #[error("the Secret {name} has no {field}")]
    Lacking {
        /// As `namespace/name`.
        name: String,
        /// Of its data.
        field: &'static str,
    },
}

/// The certificate and the key of KubeArmor's authority, as PEM.
///
/// # Errors
/// [`NoAuthority`].
pub async fn authority(client: &Client) -> Result<(Vec<u8>, Vec<u8>), NoAuthority> {
    let api: Api<Secret> = Api::all(client.clone());
    let page = ListParams::default().labels(LABEL).limit(SMALL);
    let list = async |page: &ListParams| api.list(page).await;
    let mut found = Vec::new();
    each(page, &Doing::list("secrets", None), list, |secret| {
        let name = format!(
            "{}/{}",
            secret.namespace().unwrap_or_default(),
            secret.name_any()
        );
        found.push((name, secret.data.unwrap_or_default()));
    })
    .await
    .map_err(|error| NoAuthority::Cluster(Box::new(error)))?;
    if found.len() > 1 {
        let names = found.into_iter().map(|(name, _)| name).collect();
        return Err(NoAuthority::Several { names });
    }
    let Some((name, mut data)) = found.pop() else {
        return Err(NoAuthority::None);
    };
    let mut take = |field: &'static str| match data.remove(field) {
        Some(ByteString(bytes)) => Ok(bytes),
        None => Err(NoAuthority::Lacking {
            name: name.clone(),
            field,
        }),
    };
    Ok((take("tls.crt")?, take("tls.key")?))
}
