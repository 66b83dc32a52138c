use super::*;
use crate::policy::from_yaml;

fn said(text: &str) -> Vec<String> {
    let policies = from_yaml(text).expect("a policy");
    policies
        .iter()
        .flat_map(violations)
        .map(|violation| violation.to_string())
        .collect()
}

#[test]
fn what_is_against_the_crd_is_listed_and_not_refused() {
    let text = "\
kind: KubeArmorPolicy
metadata: {name: a}
spec:
  severity: 0
  selector: {matchExpressions: [{key: namespace, operator: Is, values: [b]}]}
  process:
    matchDirectories: [{dir: /usr/bin, action: Deny}]
    matchPaths: [{execname: a/b, readOnly: true}]
  file:
    matchPaths: [{path: /}, {path: \"/a\\nb\", fromSource: [{path: bash}]}]
  network: {matchProtocols: [{protocol: quic}]}
  capabilities: {matchCapabilities: [{capability: syslog}]}
  syscalls: {matchPaths: [{path: tmp, syscall: [openat2]}]}
  device: {matchDevice: [{class: HID, level: 0}]}
  action: block
";
    assert_eq!(
        said(text),
        [
            "spec.severity: '0', which is not 1 to 10",
            "spec.action: 'block', which is not Allow, Audit or Block",
            "spec.selector.matchExpressions[0].key: 'namespace', which is not label",
            "spec.selector.matchExpressions[0].operator: 'Is', which is not In or NotIn",
            r"spec.process.matchPaths[0].execname: 'a/b', which does not match ^[^\/]+$",
            "spec.process.matchPaths[0].readOnly: '', and KubeArmorPolicy has no such field here",
            r"spec.process.matchDirectories[0].dir: '/usr/bin', which does not match ^\/$|^\/.*\/$",
            "spec.process.matchDirectories[0].action: 'Deny', which is not Allow, Audit or Block",
            r"spec.file.matchPaths[0].path: '/', which does not match ^\/+.*[^\/]$",
            r"spec.file.matchPaths[1].path: '/a\nb', which does not match ^\/+.*[^\/]$",
            r"spec.file.matchPaths[1].fromSource[0].path: 'bash', which does not match ^\/+.*[^\/]$",
            &format!(
                "spec.network.matchProtocols[0].protocol: 'quic', which does not match {}",
                crd::PROTOCOL
            ),
            &format!(
                "spec.capabilities.matchCapabilities[0].capability: 'syslog', which does not match {}",
                crd::CAPABILITY
            ),
            "spec.syscalls.matchPaths[0].syscall[0]: 'openat2', which is not a system call of the CRD's list",
            r"spec.syscalls.matchPaths[0].path: 'tmp', which does not match (^\/+.*[^\/]$)|(^\/$|^\/.*\/$)",
            "spec.device: '', and KubeArmorPolicy has no such field here",
            "spec.device.matchDevice[0].level: '0', which is less than 1",
        ]
    );
}

#[test]
fn each_kind_has_its_own_selector() {
    let host = "kind: KubeArmorHostPolicy\nmetadata: {name: a}\nspec: {network: {matchProtocols: [{protocol: tcp}]}}\n";
    assert_eq!(
        said(host),
        [
            "spec.nodeSelector: '', and KubeArmorHostPolicy requires it",
            "spec.network.matchProtocols[0].fromSource: '', and KubeArmorHostPolicy requires it",
        ]
    );
    let cluster = "kind: KubeArmorClusterPolicy\nmetadata: {name: a}\nspec:\n  selector: {matchLabels: {a: b}, matchExpressions: [{key: namespace, operator: In, values: [c]}]}\n";
    assert_eq!(
        said(cluster),
        ["spec.selector.matchLabels: '', and KubeArmorClusterPolicy has no such field here"]
    );
}

#[test]
fn the_bounds_are_counted() {
    let long = "x".repeat(200);
    let arguments = ["a"; 21].join(", ");
    let text = format!(
        "kind: KubeArmorPolicy\nmetadata: {{name: a}}\nspec:\n  process:\n    matchPaths: [{{path: /{long}, allowedArgs: [{arguments}]}}]\n"
    );
    assert_eq!(
        said(&text),
        [
            format!(
                "spec.process.matchPaths[0].path: '/{long}', which is longer than 200 characters"
            ),
            "spec.process.matchPaths[0].allowedArgs: '21', which is more than 20".to_owned(),
        ]
    );
}
