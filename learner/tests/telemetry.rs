//! Whatever is gathered of KubeArmor's messages is a recording.

use learner::observation::Moment;
use learner::path::AbsPath;
use learner::profile::Evidence;
use learner::recording::{self, JsonlWriter, observations};
use learner::telemetry::{Gatherer, messages};
use learner::workload::RunKey;
use proptest::prelude::*;
use serde_json::{Map, Value};

fn gathered(text: &[u8]) -> (Evidence, u64) {
    let is_runtime = |path: &AbsPath| path.as_bytes().ends_with(b"/runc");
    let is_judged = |_: &RunKey, at: Moment| at.0 % 2 == 0;
    let mut gatherer = Gatherer::new(is_runtime, &is_judged);
    let end = messages(text, &mut |number, message| gatherer.take(number, message));
    end.expect("bytes in memory");
    let gathered = gatherer.finish();
    (gathered.evidence, gathered.account.messages)
}

/// As it is written, and read again.
fn again(evidence: &Evidence) -> Evidence {
    let mut writer = JsonlWriter::new(Vec::new());
    for (key, run) in evidence.runs() {
        for observation in observations(key, run) {
            writer.write(&observation).expect("what was gathered");
        }
    }
    let bytes = writer.finish().expect("memory");
    let mut back = Evidence::default();
    recording::read_from(&*bytes, "written", &mut |observation| {
        back.fold(observation)
    })
    .expect("what was written is a recording");
    back
}

/// Of each field some values that are usual, and some that are not.
fn value(field: &'static str) -> BoxedStrategy<Value> {
    let usual: &[&str] = match field {
        "Type" => &["ContainerLog", "MatchedPolicy", "SystemEvent", "HostLog"],
        "Operation" => &["Process", "File", "Network", "AlertThreshold"],
        "Data" => &[
            "syscall=SYS_EXECVE",
            "syscall=SYS_OPENAT fd=-100 flags=O_RDONLY|O_CLOEXEC",
            "syscall=SYS_OPENAT fd=4 flags=O_WRONLY|O_DIRECTORY",
            "syscall=SYS_UNLINKAT flags=AT_REMOVEDIR",
            "lsm=FILE_OPEN",
            "lsm=SECURITY_BPRM_CHECK",
            "lsm=FILE_MKDIR",
        ],
        "Result" => &[
            "Passed",
            "Permission denied",
            "Unknown (-2147483648)",
            "odd",
        ],
        "Resource" | "ProcessName" | "ParentProcessName" | "Source" | "Cwd" => &[
            "/",
            "//",
            "/.",
            "/..",
            "/bin/sh",
            "/bin/sh -c a",
            "/a/./b//c/",
            "/\u{fffd}",
            "/usr/bin/runc",
            "/x (deleted)",
            "rel",
            "/\u{0}",
        ],
        "NamespaceName" | "PodName" | "ContainerName" | "ContainerID" => {
            &["a", "b", "a/b", "\u{1b}"]
        }
        "Labels" => &["app=a", "a=1,a=2,pod-template-hash=3", "=", "odd"],
        "ContainerImage" => &["img:1@sha256:1", "a b"],
        "UpdatedTime" => &[
            "2026-11-28T01:02:03.100000Z",
            "2026-11-28T01:02:03.100001Z",
            "9999-12-30T22:00:00Z",
            "soon",
            "-009999-01-02T01:59:59Z",
        ],
        "Action" | "PolicyName" => &["Audit"],
        _ => &[],
    };
    let usual = usual.iter().map(|text| Value::from(*text));
    let odd = [
        Value::Null,
        "".into(),
        Value::from(7),
        Value::from(i64::MIN),
        Value::from("é".repeat(4_000)),
    ];
    let all: Vec<Value> = usual
        .clone()
        .chain(usual.clone())
        .chain(usual)
        .chain(odd)
        .collect();
    prop::sample::select(all).boxed()
}

const FIELDS: [&str; 19] = [
    "Type",
    "Operation",
    "Data",
    "Result",
    "Resource",
    "ProcessName",
    "ParentProcessName",
    "Source",
    "Cwd",
    "NamespaceName",
    "PodName",
    "ContainerName",
    "ContainerID",
    "Labels",
    "ContainerImage",
    "UpdatedTime",
    "Action",
    "PolicyName",
    "UID",
];

/// A message that says something, but for up to four fields.
fn message() -> impl Strategy<Value = String> {
    let changes = prop::collection::vec(
        prop::sample::select(&FIELDS[..]).prop_flat_map(|field| (Just(field), value(field))),
        0..5,
    );
    changes.prop_map(|changes| {
        let mut all = Map::new();
        for (field, text) in [
            ("Type", "ContainerLog"),
            ("Operation", "File"),
            ("NamespaceName", "a"),
            ("PodName", "b"),
            ("Data", "syscall=SYS_OPENAT fd=-100 flags=O_RDONLY"),
            ("Result", "Passed"),
            ("Resource", "/etc/x"),
            ("ProcessName", "/bin/sh"),
            ("ContainerID", "a"),
            ("ContainerName", "c"),
            ("Labels", "app=a"),
            ("UpdatedTime", "2026-11-28T01:02:03.100000Z"),
        ] {
            all.insert(field.to_owned(), text.into());
        }
        for (field, value) in changes {
            match value {
                Value::Null => all.remove(field),
                value => all.insert(field.to_owned(), value),
            };
        }
        Value::Object(all).to_string()
    })
}

proptest! {
    #[test]
    fn whatever_the_fields_hold_it_can_be_written_and_read_again_in_any_order(
        lines in prop::collection::vec(message(), 1..20)
    ) {
        let (evidence, counted) = gathered(lines.join("\n").as_bytes());
        prop_assert_eq!(counted, lines.len() as u64);
        let back = again(&evidence);
        prop_assert_eq!(back.runs(), evidence.runs());
        let turned: Vec<String> = lines.iter().rev().cloned().collect();
        let (turned, _) = gathered(turned.join("\r\n").as_bytes());
        prop_assert_eq!(turned.runs(), evidence.runs());
        for run in evidence.runs().values() {
            prop_assert!(run.is_partial());
        }
    }

    #[test]
    fn any_bytes_are_counted_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let (evidence, _) = gathered(&bytes);
        prop_assert!(evidence.runs().is_empty());
    }

    #[test]
    fn a_flipped_byte_is_never_a_panic(line in message(), at in any::<prop::sample::Index>(), bit in 0..8u32) {
        let mut bytes = line.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1u8 << bit;
        let (evidence, _) = gathered(&bytes);
        let back = again(&evidence);
        prop_assert_eq!(back.runs(), evidence.runs());
    }
}
