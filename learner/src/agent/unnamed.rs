//! Runs of which it is not known yet whose they are, put away in a file beside the store, so that they
//! outlast the agent.

use std::path::{Path, PathBuf};

use tokio::task::JoinHandle;

use super::watched::Held;
use crate::profile::Evidence;
use crate::recording::{self, JsonlWriter, RecordingError, observations};
use crate::workload::{RunKey, Workload};

/// The file, which is a recording whose workloads are named by their containers' ids.
pub(super) struct Drawer {
    path: PathBuf,
    /// What is in it.
    mark: (usize, usize),
    writing: Option<JoinHandle<()>>,
}

impl Drawer {
    /// That of a store, with what an earlier agent put away. What cannot be read is said, and stays under
    /// another name.
    pub(super) fn open(store: &Path) -> (Self, Vec<(String, Held)>) {
        let path = beside(store, "unnamed.jsonl");
        let found = read(&path).unwrap_or_else(|cause| {
            let aside = beside(store, "unnamed.unread");
            let _ = std::fs::rename(&path, &aside);
            let aside = aside.display();
            tracing::error!(
                "runs of pods that an earlier agent did not know are lost: {cause}; the file is {aside} now"
            );
            Vec::new()
        });
        // If it is there it says something, and not what is held now.
        let mark = (usize::from(path.exists()), 0);
        let drawer = Self {
            path,
            mark,
            writing: None,
        };
        (drawer, found)
    }

    /// Whether what is in it is not what this tells, and can be replaced now.
    pub(super) fn is_stale(&self, mark: (usize, usize)) -> bool {
        let is_busy = self.writing.as_ref().is_some_and(|of| !of.is_finished());
        self.mark != mark && !is_busy
    }

    /// Puts these away in the place of what was there, beside the agent's one thread.
    pub(super) fn put(&mut self, runs: Vec<(String, Held)>, mark: (usize, usize)) {
        let path = self.path.clone();
        self.mark = mark;
        self.writing = Some(tokio::task::spawn_blocking(move || {
            let count = runs.len();
            if let Err(cause) = replace(&path, runs) {
                let path = path.display();
                tracing::error!(
                    runs = count,
                    "{path}: runs without a name could not be put away, and are lost if the agent ends before \
                     their pods are known: {cause}"
                );
            }
        }));
    }

    /// Waits until it is written.
    pub(super) async fn written(&mut self) {
        if let Some(writing) = self.writing.take() {
            let _ = writing.await;
        }
    }
}

pub(super) fn beside(store: &Path, what: &str) -> PathBuf {
    let mut name = store.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    PathBuf::from(name)
}

fn key(id: &str, run: String) -> RunKey {
    RunKey {
        workload: Workload {
            namespace: "host".to_owned(),
            kind: "Container".to_owned(),
            name: id.to_owned(),
            container: id.to_owned(),
        },
        image: String::new(),
        run,
    }
}

fn read(path: &Path) -> Result<Vec<(String, Held)>, RecordingError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let mut evidence = Evidence::default();
    recording::read(path, &mut |observation| evidence.fold(observation))?;
    let runs = evidence.into_runs().into_iter();
    Ok(runs
        .map(|(key, profile)| (key.workload.name, Held::kept(key.run, profile)))
        .collect())
}

/// The file has these, or, killed meanwhile, what it had before.
fn replace(path: &Path, runs: Vec<(String, Held)>) -> Result<(), Box<dyn std::error::Error>> {
    if runs.is_empty() {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        };
    }
    let folder = path.parent().unwrap_or(Path::new("."));
    // Made with mode 0600.
    let file = tempfile::NamedTempFile::new_in(folder)?;
    let mut writer = JsonlWriter::new(std::io::BufWriter::new(file));
    for (id, held) in runs {
        let (name, profile) = held.put_away();
        for observation in observations(&key(&id, name), &profile) {
            writer.write(&observation)?;
        }
    }
    let file = writer.finish()?.into_inner()?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Moment;
    use crate::profile::RunProfile;

    #[tokio::test]
    async fn what_is_put_away_is_found_by_the_next_and_gone_when_it_has_a_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = dir.path().join("store");
        let (mut drawer, found) = Drawer::open(&store);
        assert!(found.is_empty() && !drawer.is_stale((0, 0)));
        let run = RunProfile {
            start: Some(Moment(5)),
            ..RunProfile::default()
        };
        let held = Held::kept("a-1".to_owned(), run.clone());
        drawer.put(vec![("id".to_owned(), held)], (1, 1));
        drawer.written().await;
        let (mut drawer, mut found) = Drawer::open(&store);
        assert_eq!(found.len(), 1);
        let (id, held) = found.remove(0);
        assert_eq!(
            (id.as_str(), held.put_away()),
            ("id", ("a-1".to_owned(), run))
        );
        assert!(drawer.is_stale((0, 0)));
        drawer.put(Vec::new(), (0, 0));
        drawer.written().await;
        assert!(
            std::fs::read_dir(dir.path())
                .expect("a list")
                .next()
                .is_none()
        );
    }

    #[test]
    fn what_cannot_be_read_stays_under_another_name() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = dir.path().join("store");
        std::fs::write(beside(&store, "unnamed.jsonl"), "{").expect("a file");
        let (_, found) = Drawer::open(&store);
        assert!(found.is_empty() && beside(&store, "unnamed.unread").exists());
    }
}
