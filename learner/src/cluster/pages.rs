//! Lists of any length.

use kube::api::{ListParams, ObjectList};

use super::error::{ClusterError, Doing};

/// So many objects are asked for at a time: they are small, or of them only names and labels are asked.
pub(super) const SMALL: u32 = 500;
/// The same of objects that may have 256 KiB.
pub(super) const LARGE: u32 = 100;

/// Takes each object of a list, which is asked for page by page.
///
/// # Errors
/// [`ClusterError`] about `doing`, where the list cannot be had whole.
pub(super) async fn each<K: Clone>(
    mut page: ListParams,
    doing: &Doing,
    list: impl AsyncFn(&ListParams) -> kube::Result<ObjectList<K>>,
    mut take: impl FnMut(K),
) -> Result<(), ClusterError> {
    loop {
        let found = list(&page)
            .await
            .map_err(|error| ClusterError::of(doing.clone(), error))?;
        found.items.into_iter().for_each(&mut take);
        match found.metadata.continue_ {
            Some(next) if !next.is_empty() => page = page.continue_token(&next),
            _ => return Ok(()),
        }
    }
}

impl Doing {
    /// That something is listed.
    pub(crate) fn list(resource: &'static str, namespace: Option<&str>) -> Self {
        Self {
            verb: "list",
            resource,
            namespace: namespace.map(str::to_owned),
            name: None,
        }
    }
}
