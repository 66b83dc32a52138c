//! Any text that is read as policies is printed and read again as the same, and can be judged.
#![no_main]

use learner::behavior::{Access, Op};
use learner::path::AbsPath;
use learner::policy::meaning::{Enforced, Enforcer, Operation, Posture, Postures};
use learner::policy::{from_yaml, lint, to_yaml, violations};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(policies) = from_yaml(text) else {
        return;
    };
    for policy in &policies {
        let printed = to_yaml(policy);
        let again = from_yaml(&printed).expect("what was printed is a policy");
        assert_eq!(again, [policy.clone()], "{printed}");
        let _ = violations(policy);
    }
    let path = AbsPath::try_from("/etc/passwd").expect("absolute");
    for enforcer in [Enforcer::Bpf, Enforcer::AppArmor] {
        let _ = lint(&policies, enforcer);
        let held = Enforced::new(enforcer, &policies, Postures::all(Posture::Block));
        for op in [Op::Exec, Op::Open(Access::Read), Op::Unlink] {
            let _ = held.judge(&Operation::new(&op, &path)).why.to_string();
        }
    }
});
