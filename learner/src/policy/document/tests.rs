use super::*;
use crate::policy::{from_yaml, to_yaml};

/// Every field of the three kinds, once.
const ALL_FIELDS: &str = "\
apiVersion: security.kubearmor.com/v1
kind: KubeArmorPolicy
metadata:
  name: all
  namespace: shop
  labels:
    a: b
spec:
  severity: 5
  tags:
  - one
  message: \"a message\"
  selector:
    matchLabels:
      app: web
    matchExpressions:
    - key: label
      operator: NotIn
      values:
      - \"a=b\"
  process:
    matchPaths:
    - path: /bin/a
      allowedArgs:
      - \"-x\"
      ownerOnly: true
      pts: false
      fromSource:
      - path: /bin/b
      severity: 1
      tags:
      - two
      message: m
      action: Block
    - execname: a
    matchDirectories:
    - dir: /bin/
      recursive: true
      ownerOnly: true
      pts: true
      fromSource:
      - path: /bin/b
      action: Audit
    matchPatterns:
    - pattern: \"/bin/*\"
      ownerOnly: true
    severity: 2
    tags:
    - three
    message: \"n\"
    action: Allow
  file:
    matchPaths:
    - path: /etc/a
      readOnly: true
    matchDirectories:
    - dir: /etc/
      readOnly: false
    matchPatterns:
    - pattern: \"/etc/**\"
      readOnly: true
      ownerOnly: false
    action: Block
  network:
    matchProtocols:
    - protocol: tcp
      pts: false
      fromSource:
      - path: /bin/b
    matchDNSQueries:
    - domain: example.org
      fromSource:
      - path: /bin/b
    message: o
  capabilities:
    matchCapabilities:
    - capability: chown
      fromSource:
      - path: /bin/b
    action: Audit
  syscalls:
    matchSyscalls:
    - syscall:
      - unlink
      fromSource:
      - dir: /bin/
        recursive: true
    matchPaths:
    - path: /etc/
      recursive: true
      syscall:
      - unlink
      fromSource:
      - path: /bin/b
    severity: 3
    tags:
    - four
    message: p
  presets:
  - name: filelessExec
    action: Audit
  apparmor: \"deny /x w,\"
  action: Allow
---
apiVersion: security.kubearmor.com/v1
kind: KubeArmorHostPolicy
metadata:
  name: host
spec:
  nodeSelector:
    matchLabels:
      kubernetes.io/hostname: \"*\"
  device:
    matchDevice:
    - class: MASS-STORAGE
      subClass: 1
      protocol: 2
      level: 1
      action: Audit
    severity: 4
---
apiVersion: security.kubearmor.com/v1
kind: KubeArmorClusterPolicy
metadata:
  name: cluster
spec:
  selector:
    matchExpressions:
    - key: namespace
      operator: In
      values:
      - shop
";

#[test]
fn every_field_is_read_and_written() {
    let policies = from_yaml(ALL_FIELDS).expect("policies");
    let written: Vec<String> = policies.iter().map(to_yaml).collect();
    assert_eq!(written.join("---\n"), ALL_FIELDS);
    let namespaces: Vec<_> = policies.iter().map(Policy::namespace).collect();
    assert_eq!(namespaces, [Some("shop"), None, None]);
}

#[test]
fn what_others_leave_out_or_add_is_taken_as_kubearmor_takes_it() {
    let text = "\
Version: 1
kind: KubeArmorPolicy
metadata:
  name: a
  generation: 3
  uid: 1-2
spec:
  selector: {}
  process:
  file:
    matchPaths:
    - path: /etc/a
      fromSource:
status: {status: OK}
";
    let [policy] = &from_yaml(text).expect("a policy")[..] else {
        panic!("one policy")
    };
    assert_eq!(policy.namespace(), Some("default"));
    assert_eq!(policy.spec.effect(None, None), Effect::Block);
    assert!(policy.spec.file.match_paths[0].from_source.is_empty());
    let again = from_yaml(&to_yaml(policy)).expect("a policy");
    assert_eq!(&again, std::slice::from_ref(policy));
}

#[test]
fn the_action_of_the_rule_goes_before_that_of_the_section_and_that_of_the_policy() {
    let spec = |action: &str| Spec {
        action: Some(Action::from(action.to_owned())),
        ..Spec::default()
    };
    let (block, audit) = (Action::Block, Action::Audit);
    assert_eq!(spec("Allow").effect(None, None), Effect::Allow);
    assert_eq!(
        spec("Allow").effect(Some(&audit), Some(&block)),
        Effect::Block
    );
    assert_eq!(spec("Allow").effect(Some(&audit), None), Effect::Audit);
    // The daemon gives only the policy's own action its capital letter.
    assert_eq!(spec("allow").effect(None, None), Effect::Allow);
    assert_eq!(spec("").effect(None, None), Effect::Block);
    assert_eq!(spec("ALLOW").effect(None, None), Effect::Nothing);
    let small = Action::from("allow".to_owned());
    assert_eq!(spec("Block").effect(None, Some(&small)), Effect::Nothing);
}
