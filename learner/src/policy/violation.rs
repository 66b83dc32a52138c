//! What in a policy is against the CRD: the API server would refuse it, or leave the field out.

use std::fmt;

use super::crd::{self, MAX_PATH_CHARS};
use super::document::{
    Action, Device, Directory, Kind, PathRule, Pattern, Policy, Preset, Protocol, Selector, Source,
    Syscalls,
};

/// The list of arguments of a rule, at most.
const MAX_ARGUMENTS: usize = 20;

/// One field that is against the CRD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where: `spec.process.matchDirectories[0].dir`.
    pub field: String,
    /// What is written there; empty if nothing is.
    pub value: String,
    /// What the CRD wants.
    pub bound: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            field,
            value,
            bound,
        } = self;
        write!(f, "{field}: '{}', {bound}", value.escape_debug())
    }
}

/// All that is against the CRD, in the order of the document.
pub fn violations(policy: &Policy) -> Vec<Violation> {
    let mut found = Found {
        kind: policy.kind,
        list: Vec::new(),
    };
    let spec = &policy.spec;
    found.common("spec", spec.severity, spec.action.as_ref());
    found.selectors(policy);
    let process = &spec.process;
    let at = "spec.process";
    found.common(at, process.severity, process.action.as_ref());
    for (index, rule) in process.match_paths.iter().enumerate() {
        found.program(&format!("{at}.matchPaths[{index}]"), rule);
    }
    for (index, rule) in process.match_directories.iter().enumerate() {
        let at = format!("{at}.matchDirectories[{index}]");
        found.directory(&at, rule);
        found.absent(&at, "readOnly", rule.read_only.is_some());
    }
    for (index, rule) in process.match_patterns.iter().enumerate() {
        let at = format!("{at}.matchPatterns[{index}]");
        found.pattern(&at, rule);
        found.absent(&at, "readOnly", rule.read_only.is_some());
    }
    let file = &spec.file;
    let at = "spec.file";
    found.common(at, file.severity, file.action.as_ref());
    for (index, rule) in file.match_paths.iter().enumerate() {
        found.file(&format!("{at}.matchPaths[{index}]"), rule);
    }
    for (index, rule) in file.match_directories.iter().enumerate() {
        found.directory(&format!("{at}.matchDirectories[{index}]"), rule);
    }
    for (index, rule) in file.match_patterns.iter().enumerate() {
        found.pattern(&format!("{at}.matchPatterns[{index}]"), rule);
    }
    found.network(policy);
    found.capabilities(policy);
    found.syscalls(&spec.syscalls);
    for (index, preset) in spec.presets.iter().enumerate() {
        found.preset(&format!("spec.presets[{index}]"), preset);
    }
    found.device(&spec.device);
    found.list
}

struct Found {
    kind: Kind,
    list: Vec<Violation>,
}

impl Found {
    fn add(&mut self, field: String, value: &str, bound: impl Into<String>) {
        self.list.push(Violation {
            field,
            value: value.to_owned(),
            bound: bound.into(),
        });
    }

    fn pattern_of(&mut self, field: String, value: &str, holds: bool, pattern: &str) {
        if !holds {
            self.add(field, value, format!("which does not match {pattern}"));
        }
    }

    /// A field that the CRD has not at this place.
    fn absent(&mut self, at: &str, field: &str, written: bool) {
        if written {
            let bound = format!("and {} has no such field here", self.kind.as_str());
            self.add(format!("{at}.{field}"), "", bound);
        }
    }

    fn required(&mut self, at: &str, field: &str, missing: bool) {
        if missing {
            self.add(
                format!("{at}.{field}"),
                "",
                format!("and {} requires it", self.kind.as_str()),
            );
        }
    }

    fn common(&mut self, at: &str, severity: Option<i64>, action: Option<&Action>) {
        if let Some(severity) = severity
            && !crd::is_severity(severity)
        {
            let field = format!("{at}.severity");
            self.add(field, &severity.to_string(), "which is not 1 to 10");
        }
        if let Some(Action::Other(text)) = action {
            self.add(
                format!("{at}.action"),
                text,
                "which is not Allow, Audit or Block",
            );
        }
    }

    fn path(&mut self, field: String, path: &str) {
        if path.chars().count() > MAX_PATH_CHARS {
            let bound = format!("which is longer than {MAX_PATH_CHARS} characters");
            self.add(field, path, bound);
        } else {
            self.pattern_of(field, path, crd::is_path(path), crd::PATH);
        }
    }

    fn sources(&mut self, at: &str, sources: &[Source]) {
        for (index, source) in sources.iter().enumerate() {
            self.optional_path(format!("{at}.fromSource[{index}].path"), &source.path);
        }
    }

    fn program(&mut self, at: &str, rule: &PathRule) {
        self.optional_path(format!("{at}.path"), &rule.path);
        if let Some(name) = &rule.execname {
            let field = format!("{at}.execname");
            self.pattern_of(field, name, crd::is_execname(name), crd::EXECNAME);
        }
        if rule.allowed_args.len() > MAX_ARGUMENTS {
            self.add(
                format!("{at}.allowedArgs"),
                &rule.allowed_args.len().to_string(),
                format!("which is more than {MAX_ARGUMENTS}"),
            );
        }
        self.absent(at, "readOnly", rule.read_only.is_some());
        self.sources(at, &rule.from_source);
        self.common(at, rule.severity, rule.action.as_ref());
    }

    fn file(&mut self, at: &str, rule: &PathRule) {
        self.path(format!("{at}.path"), &rule.path);
        self.absent(at, "execname", rule.execname.is_some());
        self.absent(at, "allowedArgs", !rule.allowed_args.is_empty());
        self.sources(at, &rule.from_source);
        self.common(at, rule.severity, rule.action.as_ref());
    }

    fn directory(&mut self, at: &str, rule: &Directory) {
        let dir = rule.dir.as_str();
        self.pattern_of(
            format!("{at}.dir"),
            dir,
            crd::is_directory(dir),
            crd::DIRECTORY,
        );
        self.sources(at, &rule.from_source);
        self.common(at, rule.severity, rule.action.as_ref());
    }

    fn pattern(&mut self, at: &str, rule: &Pattern) {
        self.common(at, rule.severity, rule.action.as_ref());
    }

    fn selectors(&mut self, policy: &Policy) {
        let spec = &policy.spec;
        match policy.kind {
            Kind::Policy => {
                self.absent("spec", "nodeSelector", spec.node_selector.is_some());
                self.expressions(&spec.selector, &["label"]);
            }
            Kind::ClusterPolicy => {
                self.absent("spec", "nodeSelector", spec.node_selector.is_some());
                let labels = !spec.selector.match_labels.is_empty();
                self.absent("spec.selector", "matchLabels", labels);
                self.expressions(&spec.selector, &["namespace", "label"]);
            }
            Kind::HostPolicy => {
                self.required("spec", "nodeSelector", spec.node_selector.is_none());
                self.absent("spec", "selector", !spec.selector.is_empty());
            }
        }
    }

    fn expressions(&mut self, selector: &Selector, keys: &[&str]) {
        for (index, expression) in selector.match_expressions.iter().enumerate() {
            let at = format!("spec.selector.matchExpressions[{index}]");
            if !keys.contains(&expression.key.as_str()) {
                let bound = format!("which is not {}", keys.join(" or "));
                self.add(format!("{at}.key"), &expression.key, bound);
            }
            if !["In", "NotIn"].contains(&expression.operator.as_str()) {
                let field = format!("{at}.operator");
                self.add(field, &expression.operator, "which is not In or NotIn");
            }
        }
    }

    fn network(&mut self, policy: &Policy) {
        let network = &policy.spec.network;
        let at = "spec.network";
        self.common(at, network.severity, network.action.as_ref());
        for (index, rule) in network.match_protocols.iter().enumerate() {
            self.protocol(&format!("{at}.matchProtocols[{index}]"), rule);
        }
        for (index, rule) in network.match_dns_queries.iter().enumerate() {
            let at = format!("{at}.matchDNSQueries[{index}]");
            self.sources(&at, &rule.from_source);
            self.common(&at, rule.severity, rule.action.as_ref());
        }
    }

    fn protocol(&mut self, at: &str, rule: &Protocol) {
        let protocol = rule.protocol.as_str();
        let field = format!("{at}.protocol");
        self.pattern_of(field, protocol, crd::is_protocol(protocol), crd::PROTOCOL);
        if self.kind == Kind::HostPolicy {
            self.required(at, "fromSource", rule.from_source.is_empty());
            self.absent(at, "pts", rule.pts.is_some());
        }
        self.sources(at, &rule.from_source);
        self.common(at, rule.severity, rule.action.as_ref());
    }

    fn capabilities(&mut self, policy: &Policy) {
        let capabilities = &policy.spec.capabilities;
        let at = "spec.capabilities";
        self.common(at, capabilities.severity, capabilities.action.as_ref());
        for (index, rule) in capabilities.match_capabilities.iter().enumerate() {
            let at = format!("{at}.matchCapabilities[{index}]");
            let name = rule.capability.as_str();
            self.pattern_of(
                format!("{at}.capability"),
                name,
                crd::is_capability(name),
                crd::CAPABILITY,
            );
            if self.kind == Kind::HostPolicy {
                self.required(&at, "fromSource", rule.from_source.is_empty());
            }
            self.sources(&at, &rule.from_source);
            self.common(&at, rule.severity, rule.action.as_ref());
        }
    }

    fn syscalls(&mut self, syscalls: &Syscalls) {
        self.common("spec.syscalls", syscalls.severity, None);
        for (index, rule) in syscalls.match_syscalls.iter().enumerate() {
            let at = format!("spec.syscalls.matchSyscalls[{index}]");
            self.calls(&at, &rule.syscall);
            for (index, source) in rule.from_source.iter().enumerate() {
                self.optional_path(format!("{at}.fromSource[{index}].path"), &source.path);
            }
        }
        for (index, rule) in syscalls.match_paths.iter().enumerate() {
            let at = format!("spec.syscalls.matchPaths[{index}]");
            self.calls(&at, &rule.syscall);
            let path = rule.path.as_str();
            let holds = path.is_empty()
                || crd::is_directory(path)
                || path.chars().count() > MAX_PATH_CHARS
                || crd::is_path(path);
            let pattern = format!("({})|({})", crd::PATH, crd::DIRECTORY);
            self.pattern_of(format!("{at}.path"), path, holds, &pattern);
            for (index, source) in rule.from_source.iter().enumerate() {
                self.optional_path(format!("{at}.fromSource[{index}].path"), &source.path);
            }
        }
    }

    fn calls(&mut self, at: &str, calls: &[String]) {
        for (index, call) in calls.iter().enumerate() {
            if !crd::is_syscall(call) {
                let field = format!("{at}.syscall[{index}]");
                self.add(field, call, "which is not a system call of the CRD's list");
            }
        }
    }

    fn optional_path(&mut self, field: String, path: &str) {
        if !path.is_empty() {
            self.path(field, path);
        }
    }

    fn preset(&mut self, at: &str, preset: &Preset) {
        if self.kind == Kind::HostPolicy {
            self.absent("spec", "presets", true);
        }
        self.common(at, None, preset.action.as_ref());
    }

    fn device(&mut self, device: &Device) {
        self.absent(
            "spec",
            "device",
            self.kind != Kind::HostPolicy && !device.is_empty(),
        );
        self.common("spec.device", device.severity, device.action.as_ref());
        for (index, rule) in device.match_device.iter().enumerate() {
            let at = format!("spec.device.matchDevice[{index}]");
            if let Some(level) = rule.level.filter(|level| *level < 1) {
                self.add(
                    format!("{at}.level"),
                    &level.to_string(),
                    "which is less than 1",
                );
            }
            self.common(&at, rule.severity, rule.action.as_ref());
        }
    }
}

#[cfg(test)]
mod tests;
