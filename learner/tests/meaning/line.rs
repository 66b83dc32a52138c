//! A line of the verdicts: one operation, and what KubeArmor's programs answered.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use flate2::read::GzDecoder;
use learner::policy::meaning::{Posture, Postures, Verdict};
use learner::policy::{Policy, from_yaml};
use serde::Deserialize;

#[derive(Deserialize)]
pub(crate) struct Line {
    pub(crate) id: String,
    policies: Vec<String>,
    posture: PostureOf,
    pub(crate) op: Attempted,
    errno: String,
    pub(crate) alert: bool,
    pub(crate) entries: usize,
    pub(crate) entries_dropped: usize,
    pub(crate) crd_valid: bool,
    pub(crate) fixture: Vec<Vec<String>>,
}

#[derive(Deserialize)]
struct PostureOf {
    file: Option<String>,
    network: Option<String>,
    capabilities: Option<String>,
}

/// What was attempted. `source` is `memfd:` for a program without a path.
#[derive(Deserialize)]
pub(crate) struct Attempted {
    pub(crate) op: String,
    pub(crate) source: String,
    #[serde(default)]
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) to: String,
    #[serde(default)]
    pub(crate) then_read: String,
    pub(crate) uid: u32,
    #[serde(default)]
    pub(crate) tty: bool,
    #[serde(default)]
    pub(crate) args: Vec<String>,
    #[serde(default)]
    pub(crate) family: String,
    #[serde(default, rename = "type")]
    pub(crate) kind: String,
    #[serde(default)]
    pub(crate) protocol: u32,
}

impl Line {
    pub(crate) fn policies(&self) -> Vec<Policy> {
        let read = |text: &String| from_yaml(text).expect("a policy");
        self.policies.iter().flat_map(read).collect()
    }

    pub(crate) fn postures(&self) -> Postures {
        let posture = |text: &Option<String>| {
            let text = text.as_deref().unwrap_or("audit");
            text.parse::<Posture>().expect("a posture")
        };
        Postures {
            file: posture(&self.posture.file),
            network: posture(&self.posture.network),
            capabilities: posture(&self.posture.capabilities),
        }
    }

    /// Other errors than these are those of the file system.
    pub(crate) fn expected(&self) -> Verdict {
        if ["EACCES", "EPERM"].contains(&self.errno.as_str()) {
            Verdict::Denied
        } else {
            Verdict::Allowed
        }
    }
}

/// All lines of a file, compressed or not.
pub(crate) fn read(path: &Path) -> Vec<Line> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let bytes: Box<dyn Read> = if path.extension().is_some_and(|extension| extension == "gz") {
        Box::new(GzDecoder::new(file))
    } else {
        Box::new(file)
    };
    BufReader::new(bytes)
        .lines()
        .map(|line| serde_json::from_str(&line.expect("text")).expect("a verdict"))
        .collect()
}
