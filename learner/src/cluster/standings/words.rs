//! What people say of a workload, in the specification of its `WorkloadPosture`.

use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::json;

use super::super::error::{ClusterError, Doing};
use super::super::forgotten::ForgottenRow;
use super::super::posture::{HoldSpec, WorkloadPosture};
use super::{POSTURES, doing, name, object};
use crate::workload::Workload;

fn by_a_person() -> PatchParams {
    PatchParams {
        field_manager: Some("learner-hold".to_owned()),
        ..PatchParams::default()
    }
}

/// Has a person hold a workload. The last word counts, whoever had one before.
///
/// # Errors
/// [`ClusterError`].
pub async fn hold(client: &Client, workload: &Workload, reason: &str) -> Result<(), ClusterError> {
    let api: Api<WorkloadPosture> = Api::namespaced(client.clone(), &workload.namespace);
    let name = name(workload);
    let hold = HoldSpec {
        reason: reason.to_owned(),
    };
    let change = Patch::Merge(json!({"spec": {"hold": hold}}));
    let held = api.patch(&name, &by_a_person(), &change).await;
    match held.map_err(|error| ClusterError::of(doing("patch", POSTURES, workload), error)) {
        Ok(_) => Ok(()),
        Err(ClusterError::NotFound { .. }) => {
            let how = PostParams {
                field_manager: Some("learner-hold".to_owned()),
                ..PostParams::default()
            };
            let made = api.create(&how, &object(workload, Some(hold))).await;
            made.map(drop)
                .map_err(|error| ClusterError::of(doing("create", POSTURES, workload), error))
        }
        Err(error) => Err(error),
    }
}

/// Keeps what a person has had forgotten of a workload, or has let be learned again: all of it that stands in the
/// object of this name from now on.
///
/// # Errors
/// [`ClusterError`].
pub async fn forget(
    client: &Client,
    workload: &Workload,
    object: &str,
    rows: &[ForgottenRow],
) -> Result<(), ClusterError> {
    let api: Api<WorkloadPosture> = Api::namespaced(client.clone(), &workload.namespace);
    let of = |verb| Doing {
        name: Some(object.to_owned()),
        ..doing(verb, POSTURES, workload)
    };
    let change = Patch::Merge(json!({"spec": {"forgotten": rows}}));
    let kept = api.patch(object, &by_a_person(), &change).await;
    match kept.map_err(|error| ClusterError::of(of("patch"), error)) {
        Ok(_) => Ok(()),
        Err(ClusterError::NotFound { .. }) => {
            let how = PostParams {
                field_manager: by_a_person().field_manager,
                ..PostParams::default()
            };
            let mut new = super::object(workload, None);
            new.spec.forgotten = rows.to_vec();
            let made = api.create(&how, &new).await;
            made.map(drop)
                .map_err(|error| ClusterError::of(of("create"), error))
        }
        Err(error) => Err(error),
    }
}

/// Lets a workload go that is held by objects of these names.
///
/// # Errors
/// [`ClusterError`].
pub async fn release(
    client: &Client,
    workload: &Workload,
    holding: &[String],
) -> Result<(), ClusterError> {
    let api: Api<WorkloadPosture> = Api::namespaced(client.clone(), &workload.namespace);
    let change = Patch::Merge(json!({"spec": {"hold": null}}));
    for name in holding {
        let released = api.patch(name, &by_a_person(), &change).await;
        released.map_err(|error| {
            let doing = Doing {
                name: Some(name.clone()),
                ..doing("patch", POSTURES, workload)
            };
            ClusterError::of(doing, error)
        })?;
    }
    Ok(())
}
