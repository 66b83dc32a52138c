//! The committed kernel object is the one that the committed sources give.
//!
//! Compared are hashes; `learner-ebpf/build --check`, which CI runs, builds it and compares bytes.

use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

fn package() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("learner-ebpf")
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn manifest(field: &str) -> String {
    let text = fs::read_to_string(package().join("object/MANIFEST")).expect("the MANIFEST");
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.unwrap_or_else(|| panic!("the MANIFEST has no {field}"))
        .trim()
        .to_owned()
}

fn files(below: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(below).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, into);
        } else {
            into.push(path);
        }
    }
}

/// As `sha256sum` lists the files, sorted by name; the same in `learner-ebpf/build`.
fn sources() -> String {
    let mut found = vec![package().join("Cargo.toml")];
    files(&package().join("src"), &mut found);
    let mut list: Vec<(String, PathBuf)> = found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(package()).expect("below");
            (name.to_str().expect("text").to_owned(), path)
        })
        .collect();
    list.sort();
    let list: String = list
        .into_iter()
        .map(|(name, path)| format!("{}  {name}\n", hash(&fs::read(path).expect("a source"))))
        .collect();
    hash(list.as_bytes())
}

#[test]
fn the_object_was_built_from_these_sources() {
    assert_eq!(
        sources(),
        manifest("sources"),
        "learner-ebpf/src moved and the object did not: run learner-ebpf/build and commit what it makes"
    );
}

#[test]
fn the_object_is_the_one_that_was_built() {
    let object = fs::read(package().join("object/learner.bpf.o")).expect("the object");
    assert_eq!(
        hash(&object),
        manifest("object"),
        "the object is not what learner-ebpf/build made: run it and commit what it makes"
    );
}
