//! The agent's configuration: one YAML document, in which every key may be left out.

use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_yaml::Value;

use super::kubearmor::KubeArmor;
use super::node::Node;
use super::promote::Promote;
use crate::host::{BadGlob, Globs, Roots, Selection};
use crate::kernel::{DEFAULT_RING, Rung, Settings};
use crate::mention::BadMention;
use crate::profile::DEFAULT_MAX_BEHAVIORS;
use crate::promotion::{Criteria, Rollback};

/// Where the agent listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/learner/agent.sock";
/// How like a known key an unknown one has to be for being taken for it, from 0 to 1.
const LIKENESS: f64 = 0.7;

/// What the agent is told. `deploy/agent.yaml` has every key with its meaning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Config {
    /// Directory of the store; null: the usual one.
    pub store: Option<PathBuf>,
    /// Where commands reach the agent; null: [`DEFAULT_SOCKET`].
    pub socket: Option<PathBuf>,
    /// Which workloads are watched.
    pub watch: Watch,
    /// How often what runs did is put into the store.
    #[serde(deserialize_with = "flush")]
    pub flush: Span,
    /// How often all cgroups are looked at, apart from what the kernel notices.
    #[serde(deserialize_with = "rescan")]
    pub rescan: Span,
    /// Bytes between kernel and user space: a power of two, from 4,096 to 1 GiB.
    pub ring_buffer: u32,
    /// Most distinct behaviours of a run, and of a workload revision in the store.
    pub max_behaviors: usize,
    /// Only this of the kernel's means: `lsm`, `fentry` or `tracepoint`; null: the best.
    pub rung: Option<String>,
    /// Hold what stands under block to its candidate, by Learner's own programs.
    pub enforce: bool,
    /// Which denials take a workload from block back to audit, as soon as they are stored.
    pub rollback: Rollback,
    /// What the agent promotes workloads by; null: it promotes none.
    pub promote: Option<Promote>,
    /// How a node of a cluster is watched, and what it tells; null: this is none.
    pub cluster: Option<Node>,
    /// Where KubeArmor's alerts are heard all the time; null: they are not.
    pub kubearmor: Option<KubeArmor>,
    /// Address for metrics and health; on loopback, unless this is a node of a cluster; null: none.
    pub metrics: Option<SocketAddr>,
    /// How the log is written.
    pub log_format: LogFormat,
}

/// Which workloads are watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Watch {
    /// All containers.
    pub containers: bool,
    /// systemd units, by patterns of their names.
    pub units: Vec<String>,
    /// Other cgroups, by patterns of their paths.
    pub cgroups: Vec<String>,
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// An object a line.
    Json,
}

/// A duration, written as in `10s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl Default for Config {
    fn default() -> Self {
        Self {
            store: None,
            socket: None,
            watch: Watch::default(),
            flush: Span(Duration::from_secs(10)),
            rescan: Span(Duration::from_secs(30)),
            ring_buffer: DEFAULT_RING,
            max_behaviors: DEFAULT_MAX_BEHAVIORS,
            rung: None,
            enforce: true,
            rollback: Rollback::default(),
            promote: None,
            cluster: None,
            kubearmor: None,
            metrics: None,
            log_format: LogFormat::Text,
        }
    }
}

impl Default for Watch {
    fn default() -> Self {
        Self {
            containers: true,
            units: Vec::new(),
            cgroups: Vec::new(),
        }
    }
}

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum BadConfig {
    /// No YAML, or a value of the wrong kind.
    #[error("{0}")]
    Yaml(#[from] serde_yaml::Error),
    /// A key that is not known.
    #[error(
        "'{}' is not known{}",
        key.escape_debug(),
        nearest.as_ref().map_or_else(String::new, |nearest| format!("; did you mean '{nearest}'?"))
    )]
    Key {
        /// The key, with those above it.
        key: String,
        /// The known key that is most like it.
        nearest: Option<String>,
    },
    /// A pattern that is none.
    #[error("watch: {0}")]
    Glob(#[from] BadGlob),
    /// A value out of its range.
    #[error("{0}")]
    Value(&'static str),
    /// Something that names no behaviours.
    #[error("promote.include: {0}")]
    Mention(#[from] BadMention),
}

impl Config {
    /// Reads a configuration. Nothing at all is one too.
    ///
    /// # Errors
    /// [`BadConfig`]: a key that is not known comes with the nearest that is.
    pub fn parse(text: &str) -> Result<Self, BadConfig> {
        let document: Value = serde_yaml::from_str(text)?;
        if document.is_null() {
            return Ok(Self::default());
        }
        let all = Self {
            promote: Some(Promote::default()),
            cluster: Some(Node::default()),
            kubearmor: Some(KubeArmor::default()),
            ..Self::default()
        };
        check_keys(&document, &serde_yaml::to_value(all)?, "")?;
        // From the text again, since its errors name the line.
        let config: Self = serde_yaml::from_str(text)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), BadConfig> {
        if !self.ring_buffer.is_power_of_two() || !(4096..=1 << 30).contains(&self.ring_buffer) {
            let why = "ring_buffer: a power of two from 4096 to 1073741824 is needed";
            return Err(BadConfig::Value(why));
        }
        if self.max_behaviors == 0 {
            return Err(BadConfig::Value("max_behaviors: at least 1 is needed"));
        }
        // A pod has an address of its own, and a NetworkPolicy for it.
        if self
            .metrics
            .is_some_and(|address| !address.ip().is_loopback() && self.cluster.is_none())
        {
            let why = "metrics: an address on loopback is needed, as 127.0.0.1:9464; what workloads \
                       do is nobody else's. Only on a node of a cluster ('cluster' in this file) may it be \
                       another one";
            return Err(BadConfig::Value(why));
        }
        self.rung()?;
        self.selection()?;
        if let Some(promote) = &self.promote {
            promote.check()?;
        }
        if let Some(node) = &self.cluster {
            node.check()?;
        }
        if let Some(kubearmor) = &self.kubearmor {
            kubearmor.check()?;
        }
        self.check_enforcing()
    }

    /// Who decides what is held on a node is one, and whether anything is held is said once.
    fn check_enforcing(&self) -> Result<(), BadConfig> {
        if !self.holds_for_cluster() {
            return Ok(());
        }
        if !self.enforce {
            let why = "enforce: false holds nothing to anything, and 'cluster.enforce' is to hold what the \
                       promotion job decided; leave out one of the two";
            return Err(BadConfig::Value(why));
        }
        if self.promote.is_some() {
            let why = "promote: with 'cluster.enforce' the promotion job of the cluster decides what is held on \
                       this node, and nobody else; leave out one of the two";
            return Err(BadConfig::Value(why));
        }
        Ok(())
    }

    /// Whether containers are held to what the promotion job of a cluster has decided.
    pub fn holds_for_cluster(&self) -> bool {
        self.cluster.as_ref().is_some_and(|node| node.enforce)
    }

    /// What a promotion takes, and which denials take it back: what is not told is as for
    /// `learner promote`.
    pub fn criteria(&self) -> Criteria {
        let criteria = self.promote.as_ref().map(Promote::criteria);
        Criteria {
            rollback: self.rollback,
            ..criteria.unwrap_or_default()
        }
    }

    fn rung(&self) -> Result<Option<Rung>, BadConfig> {
        let Some(name) = &self.rung else {
            return Ok(None);
        };
        let known = Rung::ALL.into_iter().find(|rung| rung.as_str() == name);
        known.map(Some).ok_or(BadConfig::Value(
            "rung: one of lsm, fentry and tracepoint is needed",
        ))
    }

    /// Which cgroups are workloads.
    ///
    /// # Errors
    /// [`BadConfig::Glob`].
    pub fn selection(&self) -> Result<Selection, BadConfig> {
        Ok(Selection {
            containers: self.watch.containers,
            units: Globs::new(&self.watch.units)?,
            cgroups: Globs::new(&self.watch.cgroups)?,
            roots: Roots::default(),
        })
    }

    /// What to load into the kernel.
    ///
    /// # Errors
    /// [`BadConfig::Value`] for a rung that is none.
    pub fn sensor(&self) -> Result<Settings, BadConfig> {
        Ok(Settings {
            rung: self.rung()?,
            ring: self.ring_buffer,
        })
    }
}

/// Whether every key of `given` stands in `known` too, which has them all.
fn check_keys(given: &Value, known: &Value, above: &str) -> Result<(), BadConfig> {
    let (Value::Mapping(given), Value::Mapping(known)) = (given, known) else {
        return Ok(());
    };
    for (key, value) in given {
        let name = key
            .as_str()
            .map_or_else(|| format!("{key:?}"), str::to_owned);
        let Some(expected) = known.get(key) else {
            let names = known.keys().filter_map(Value::as_str);
            let nearest = names
                .map(|known| (strsim::jaro_winkler(&name, known), known))
                .filter(|(likeness, _)| *likeness >= LIKENESS)
                .max_by(|a, b| a.0.total_cmp(&b.0))
                .map(|(_, known)| format!("{above}{known}"));
            let key = format!("{above}{name}");
            return Err(BadConfig::Key { key, nearest });
        };
        check_keys(value, expected, &format!("{above}{name}."))?;
    }
    Ok(())
}

/// From 100 ms to a day: how often something is done.
const OFTEN: (RangeInclusive<Duration>, &str) = (
    Duration::from_millis(100)..=Duration::from_secs(DAY),
    "from 100ms to 24h, as in 10s",
);
/// From nothing to ten years: how long something is to last.
const LONG: (RangeInclusive<Duration>, &str) = (
    Duration::ZERO..=Duration::from_secs(3_653 * DAY),
    "from 0s to ten years, as in 24h",
);
const DAY: u64 = 86_400;

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0.as_millis())
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Span {
    /// A whole number of seconds.
    pub(super) const fn seconds(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// As its key's value, so that an error names the key.
    fn named<'de, D: Deserializer<'de>>(
        key: &str,
        (range, known): (RangeInclusive<Duration>, &str),
        from: D,
    ) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let parsed: Option<jiff::SignedDuration> = text.parse().ok();
        parsed
            .and_then(|parsed| Duration::try_from(parsed).ok())
            .filter(|span| range.contains(span))
            .map(Self)
            .ok_or_else(|| {
                let text = text.escape_debug();
                serde::de::Error::custom(format!("{key}: '{text}' is no duration {known}"))
            })
    }

    /// How often something is done: from 100 ms to a day.
    pub(super) fn often<'de, D: Deserializer<'de>>(key: &str, from: D) -> Result<Self, D::Error> {
        Self::named(key, OFTEN, from)
    }

    /// How long something is to last: from nothing to ten years.
    pub(super) fn long<'de, D: Deserializer<'de>>(key: &str, from: D) -> Result<Self, D::Error> {
        Self::named(key, LONG, from)
    }
}

fn flush<'de, D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
    Span::often("flush", from)
}

fn rescan<'de, D: Deserializer<'de>>(from: D) -> Result<Span, D::Error> {
    Span::often("rescan", from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        Config::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn nothing_is_the_default_and_what_is_told_stands() {
        assert_eq!(Config::parse("").expect("empty"), Config::default());
        assert_eq!(
            Config::parse("# only this\n").expect("empty"),
            Config::default()
        );
        let config = Config::parse(
            "flush: 2s\nwatch: {units: ['*.service']}\nmetrics: 127.0.0.1:9464\nlog_format: json\n",
        )
        .expect("valid");
        assert_eq!(config.flush, Span(Duration::from_secs(2)));
        assert!(config.watch.containers && config.watch.units == ["*.service"]);
        assert_eq!(config.log_format, LogFormat::Json);
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_that_is_known() {
        assert_eq!(
            wrong("flsh: 1s"),
            "'flsh' is not known; did you mean 'flush'?"
        );
        assert_eq!(
            wrong("watch: {contaners: true}"),
            "'watch.contaners' is not known; did you mean 'watch.containers'?"
        );
        assert_eq!(
            wrong("promote: {min_run: 1}"),
            "'promote.min_run' is not known; did you mean 'promote.min_runs'?"
        );
        assert_eq!(
            wrong("cluster: {leaveout: []}"),
            "'cluster.leaveout' is not known; did you mean 'cluster.leave_out'?"
        );
        assert_eq!(
            wrong("kubearmor: {grcp: 'a:1'}"),
            "'kubearmor.grcp' is not known; did you mean 'kubearmor.grpc'?"
        );
        assert_eq!(wrong("zzz: 1"), "'zzz' is not known");
        assert!(wrong("\"a\\nb\": 1").starts_with("'a\\nb' is not known"));
        assert!(wrong("7: 1").contains("is not known"));
    }

    #[test]
    fn metrics_are_told_beyond_the_host_on_a_node_of_a_cluster_alone() {
        let config = Config::parse("{metrics: '0.0.0.0:9464', cluster: {}}").expect("understood");
        assert_eq!(config.metrics, Some(([0, 0, 0, 0], 9464).into()));
    }

    #[test]
    fn a_wrong_value_is_refused_and_named() {
        for (text, said) in [
            ("flush: 1", "flush: '1' is no duration"),
            ("flush: soon", "flush: 'soon' is no duration"),
            ("rescan: 0s", "rescan: '0s' is no duration"),
            ("ring_buffer: 5000", "ring_buffer: a power of two"),
            ("rung: kprobe", "rung: one of lsm"),
            ("metrics: 0.0.0.0:9464", "metrics: an address on loopback"),
            ("watch: {units: ['a[']}", "watch: 'a[' is no pattern"),
            ("rollback: sometimes", "unknown variant `sometimes`"),
            (
                "promote: {every: 1d}",
                "promote: every: '1d' is no duration",
            ),
            ("promote: {window: -1s}", "promote: window: '-1s' is no"),
            (
                "promote: {canary: 1}",
                "promote: canary: '1' is no duration",
            ),
            ("promote: {min_exercise: 101}", "promote.min_exercise: "),
            ("promote: {max_risk: .nan}", "promote.max_risk: "),
            ("promote: {include: [etc]}", "promote.include: "),
            ("promote: {min_runs: -1}", "promote.min_runs: "),
            ("cluster: {interval: 2h}", "cluster.interval: at most 1h"),
            ("cluster: {keep: 1d}", "cluster: keep: '1d' is no duration"),
            ("cluster: {node: ''}", "cluster.node: a name"),
            (
                "{enforce: false, cluster: {enforce: true}}",
                "enforce: false holds nothing",
            ),
            (
                "{promote: {}, cluster: {enforce: true}}",
                "promote: with 'cluster.enforce'",
            ),
            ("kubearmor: {grpc: ''}", "kubearmor.grpc: HOST:PORT"),
            ("kubearmor: {secure: 1}", "kubearmor.secure: "),
            ("- a", "invalid type"),
            ("watch: [", "at line 2"),
        ] {
            assert!(wrong(text).contains(said), "{text}: {}", wrong(text));
        }
    }
}
