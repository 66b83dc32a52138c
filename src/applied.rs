//! Policies that somebody has written: from files, directories and standard input.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use learner::policy::{Identity, Policy, documents};

use crate::answer::is_dash;
use crate::failure::Failure;
use crate::talk::visible;

/// Where applied policies are looked for. A cluster is to come.
pub(crate) enum Applied<'a> {
    /// What lies in these files and directories.
    Files(&'a [PathBuf]),
}

impl Applied<'_> {
    pub(crate) fn read(&self) -> Result<Vec<Policy>, Failure> {
        match self {
            Self::Files(files) => read(files),
        }
    }
}

/// All policies in the files and below the directories, each of a kind, namespace and name once:
/// of two with different contents the later one counts, as when both are applied.
pub(crate) fn read(paths: &[PathBuf]) -> Result<Vec<Policy>, Failure> {
    let mut found: BTreeMap<Identity, (Policy, String)> = BTreeMap::new();
    for path in paths {
        for (text, from, is_one_of_many) in texts(path)? {
            let before = found.len();
            for policy in policies(&text, &from, is_one_of_many)? {
                let identity = policy.identity();
                if let Some((other, place)) = found.get(&identity)
                    && *other != policy
                {
                    tracing::warn!(
                        "{identity} stands in {place} and, with other rules, in {from}: the latter counts"
                    );
                }
                found.insert(identity, (policy, from.clone()));
            }
            if !is_one_of_many && found.len() == before && documents(&text).is_empty() {
                tracing::warn!("{from} holds no policy");
            }
        }
    }
    Ok(found.into_values().map(|(policy, _)| policy).collect())
}

/// A file that was asked for must hold policies; in a directory or on standard input they may be
/// among other documents.
fn policies(text: &str, from: &str, is_one_of_many: bool) -> Result<Vec<Policy>, Failure> {
    let mut policies = Vec::new();
    for document in documents(text) {
        match document {
            Ok(policy) => policies.push(policy),
            Err(other) if is_one_of_many && other.is_of_another_kind() => {
                tracing::warn!("{from}: left out: {}", visible(&other.to_string()));
            }
            Err(source) => {
                return Err(Failure::Policy {
                    file: from.to_owned(),
                    source,
                });
            }
        }
    }
    Ok(policies)
}

/// Each with what it is called and whether it is one of many.
fn texts(path: &Path) -> Result<Vec<(String, String, bool)>, Failure> {
    if is_dash(path) {
        let mut text = String::new();
        std::io::stdin()
            .lock()
            .read_to_string(&mut text)
            .map_err(|e| Failure::file(Path::new("standard input"), "reading", e))?;
        return Ok(vec![(text, "standard input".to_owned(), true)]);
    }
    if !path.is_dir() {
        return Ok(vec![(read_file(path)?, name(path), false)]);
    }
    let mut files = Vec::new();
    walk(path, &mut files)?;
    if files.is_empty() {
        tracing::warn!("{}: no .yaml or .yml file is in it", name(path));
    }
    files
        .iter()
        .map(|file| Ok((read_file(file)?, name(file), true)))
        .collect()
}

/// The YAML files below a directory, in the order of their names. Directories that are hidden, and
/// links to directories, are left out.
fn walk(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let failed = |e| Failure::file(dir, "reading the directory", e);
    let mut entries = fs::read_dir(dir)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        if entry.file_type().map_err(failed)?.is_dir() {
            if !is_hidden {
                walk(&path, files)?;
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yaml" || extension == "yml")
            && !path.is_dir()
        {
            files.push(path);
        }
    }
    Ok(())
}

fn read_file(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|e| Failure::file(path, "reading", e))
}

fn name(path: &Path) -> String {
    visible(&path.display().to_string())
}
