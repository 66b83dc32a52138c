use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use html5ever::driver::ParseOpts;
use html5ever::tendril::TendrilSink as _;
use html5ever::tokenizer::TokenizerOpts;
use markup5ever_rcdom::{Handle, NodeData, RcDom};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::behavior::{Access, Behavior, Op, Outcome};
use crate::generalize::{self, RuleClass, Target};
use crate::observation::{Fact, Loss, Moment, Observation};
use crate::path::AbsPath;
use crate::profile::Evidence;
use crate::recommend::{Criteria, Grant, Note, RuleEvidence, recommend};
use crate::workload::{RunKey, Workload};

const SCRIPT: &str = "/srv/</script><script>alert(1)</script>";
const IMAGE: &str = "/srv/\"><img src=x onerror='alert(1)'>";
const LINES: &str = "/srv/a\n\nWhat is uncertain\n\n  - nothing\u{202e}\u{1b}[2J";
const BYTES: &[u8] = b"/srv/\xff\xfe<b>";
/// As a run, a kind, a name or an image.
const NAME: &str = "<b>\"'&amp;\n--></title></style><img src=//x>";

fn path(bytes: impl Into<Vec<u8>>) -> AbsPath {
    AbsPath::new(bytes).expect("absolute")
}

fn did(op: Op, at: &AbsPath, source: &str, result: Outcome) -> Fact {
    Fact::Seen {
        behavior: Behavior {
            op,
            path: at.clone(),
            source: Some(path(source)),
            uid: None,
            owner: None,
            upper: None,
            tty: None,
            result,
        },
        count: 2,
        last: Moment(1_780_000_009_000_000),
    }
}

fn workload(name: &str, kind: &str) -> Workload {
    Workload {
        namespace: "shop".into(),
        kind: kind.into(),
        name: name.into(),
        container: name.into(),
    }
}

/// Four runs, one of them with loss, of a workload that has all that a report may have to say.
fn observations(workload: &Workload, run_prefix: &str) -> Vec<Observation> {
    let mut all = Vec::new();
    for number in 0..4 {
        let run = Arc::new(RunKey {
            workload: workload.clone(),
            image: NAME.into(),
            run: format!("{run_prefix}{number}"),
        });
        let mut facts = vec![
            Fact::Start,
            did(Op::Exec, &path("/usr/bin/dash"), "/runc", Outcome::Ok),
            did(
                Op::Open(Access::Read),
                &path("/"),
                "/usr/bin/dash",
                Outcome::Ok,
            ),
            did(Op::Exec, &path("/usr/bin/id"), "/usr/bin/dash", Outcome::Ok),
            did(
                Op::Exec,
                &path(IMAGE),
                "/usr/bin/dash",
                Outcome::Failed("EACCES".into()),
            ),
            did(
                Op::Rename { to: path(LINES) },
                &path(BYTES),
                "/usr/bin/dash",
                Outcome::Failed("EPERM".into()),
            ),
            did(
                Op::Open(Access::Write),
                &path(IMAGE),
                "/usr/bin/dash",
                Outcome::Failed("EACCES".into()),
            ),
            did(
                Op::Rename { to: path(SCRIPT) },
                &path(IMAGE),
                "/usr/bin/dash",
                Outcome::Ok,
            ),
        ];
        for at in [
            path(SCRIPT),
            path(LINES),
            path(BYTES),
            path("/proc/4711/stat"),
            path(format!("/proc/{}/stat", 100 + number)),
            path(format!("/tmp/tmp.aZ{number}4bQxKf/names")),
        ] {
            facts.push(did(
                Op::Open(Access::ReadWrite),
                &at,
                "/usr/bin/dash",
                Outcome::Ok,
            ));
        }
        if number == 3 {
            facts.push(Fact::Lost {
                reason: Loss::Other(NAME.into()),
                count: 7,
            });
        }
        all.extend(facts.into_iter().map(|fact| Observation {
            run: run.clone(),
            labels: Arc::new([("app".to_owned(), "shop".to_owned())].into()),
            at: Moment(1_780_000_000_000_000 + number * 1_000_000),
            fact,
        }));
    }
    all
}

fn recommended(workloads: &[Workload], observations: Vec<Observation>) -> Vec<Recommendation> {
    let mut evidence = Evidence::default();
    observations.into_iter().for_each(|o| evidence.fold(o));
    let recommend = |workload| recommend(workload, &evidence, &Criteria::default());
    let all: Result<Vec<_>, _> = workloads.iter().map(recommend).collect();
    all.expect("policies")
}

fn hostile() -> Vec<Recommendation> {
    let workloads = [workload(NAME, NAME), workload("plain", "Deployment")];
    let observations = workloads
        .iter()
        .flat_map(|w| observations(w, NAME))
        .collect();
    let mut all = recommended(&workloads, observations);
    // No rule is made of these; a report must not depend on it.
    all[0].rules.push(odd_rule(BYTES));
    all[0].rules.push(odd_rule(LINES.as_bytes()));
    all[0].policy.spec.tags.push(NAME.into());
    all[0].losses = vec![
        generalize::Loss::Unscoped { paths: 1 },
        generalize::Loss::Collapsed {
            dir: LINES.into(),
            paths: 4,
            recursive: false,
        },
    ];
    let deep = (0..30).map(|n| path(format!("{IMAGE}/{n}"))).collect();
    all[0].notes.push(Note::TooDeep { paths: deep });
    all
}

fn odd_rule(bytes: &[u8]) -> RuleEvidence {
    RuleEvidence {
        class: RuleClass::File,
        target: Target::Path(path(bytes)),
        source: Some(path(bytes)),
        read_only: false,
        observations: 1,
        runs: 1,
        first: Moment(i64::MIN),
        last: Moment(i64::MAX),
        sources: [path(bytes)].into(),
        samples: [path(bytes)].into(),
        classes: BTreeSet::new(),
        grants: vec![Grant::Longer, Grant::Writing],
        marks: Vec::new(),
    }
}

/// What a browser makes of it: elements, attributes, all text.
#[derive(Default)]
struct Page {
    elements: BTreeSet<String>,
    attributes: BTreeSet<(String, String)>,
    text: String,
}

impl Page {
    fn parse(html: &str) -> Self {
        let options = ParseOpts {
            tokenizer: TokenizerOpts {
                exact_errors: true,
                ..TokenizerOpts::default()
            },
            ..ParseOpts::default()
        };
        let dom = html5ever::parse_document(RcDom::default(), options).one(html);
        assert_eq!(
            *dom.errors.borrow(),
            Vec::<std::borrow::Cow<'_, str>>::new()
        );
        let mut page = Self::default();
        page.walk(&dom.document);
        page
    }

    fn walk(&mut self, node: &Handle) {
        match &node.data {
            NodeData::Element { name, attrs, .. } => {
                self.elements.insert(name.local.to_string());
                let attrs = attrs.borrow();
                let attributes = attrs
                    .iter()
                    .map(|attr| (attr.name.local.to_string(), attr.value.to_string()));
                self.attributes.extend(attributes);
            }
            NodeData::Text { contents } => self.text.push_str(&contents.borrow()),
            _ => {}
        }
        for child in node.children.borrow().iter() {
            self.walk(child);
        }
    }

    fn assert_harmless(&self) {
        let known = "a body br circle code dd details div dl dt figcaption figure h1 h2 h3 h4 head html li meta meter nav \
                     p polyline rect section small span style summary svg table tbody td text th thead title tr ul line";
        let known: BTreeSet<&str> = known.split_whitespace().collect();
        let unknown: Vec<_> = self
            .elements
            .iter()
            .filter(|e| !known.contains(&***e))
            .collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        for (name, value) in &self.attributes {
            assert!(
                !name.starts_with("on") && name != "src" && name != "style",
                "{name}={value}"
            );
            if name == "href" {
                assert!(value.starts_with("#w"), "{value}");
            }
            if name == "id" {
                assert!(
                    value
                        .bytes()
                        .all(|b| b.is_ascii_alphanumeric() || b == b'-'),
                    "{value}"
                );
            }
        }
    }
}

#[test]
fn the_same_evidence_in_any_order_gives_the_same_bytes() {
    let workloads = [workload("plain", "Deployment")];
    let forwards = observations(&workloads[0], "run-");
    let backwards = forwards.iter().rev().cloned().collect();
    let (a, b) = (
        recommended(&workloads, forwards),
        recommended(&workloads, backwards),
    );
    assert_eq!(text(&a), text(&b));
    assert_eq!(html(&a), html(&b));
    assert_eq!(json(&a), json(&b));
    assert_eq!(summary(&a[0]), summary(&b[0]));
}

#[test]
fn a_hostile_name_makes_no_element_and_is_shown_whole() {
    let page = Page::parse(&html(&hostile()));
    page.assert_harmless();
    for name in [
        "</script><script>alert(1)</script>",
        "\"><img src=x onerror='alert(1)'>",
        "\\xff\\xfe<b>",
        "onerror='alert(1)'>/29",
        "a\\n\\nWhat is uncertain\\n\\n  - nothing\\u{202e}\\u{1b}[2J",
        "<b>\"'&amp;\\n--></title></style><img src=//x>",
    ] {
        assert!(page.text.contains(name), "{name}");
    }
}

#[test]
fn the_page_loads_nothing() {
    let html = html(&hostile());
    let page = Page::parse(&html);
    let content =
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
    let expected = ("content".to_owned(), content.to_owned());
    assert!(page.attributes.contains(&expected));
    for word in ["http:", "https:", "url(", "@import"] {
        let found: Vec<_> = html.match_indices(word).collect();
        // The name of a language, which nobody fetches.
        let names = html.matches("xmlns=\"http:").count();
        assert!(
            word == "http:" && found.len() == names || found.is_empty(),
            "{word}"
        );
    }
}

#[test]
fn no_name_breaks_a_line_of_text() {
    let all = hostile();
    let text = text(&all);
    let is_plain = |text: &str| {
        text.chars()
            .all(|c| c == '\n' || !(c.is_control() || c == '\u{202e}'))
    };
    assert!(is_plain(&text));
    assert_eq!(
        text.lines()
            .filter(|line| *line == "What is uncertain")
            .count(),
        all.len()
    );
    assert!(text.contains("/srv/\\xff\\xfe<b>"));
    for line in all.iter().flat_map(summary) {
        assert!(is_plain(&line) && !line.contains('\n'), "{line}");
    }
}

#[test]
fn json_holds_names_as_they_are_and_bytes_in_base64() {
    let value: Value = serde_json::from_str(&json(&hostile())).expect("JSON");
    let subject = &value["workloads"][0];
    assert_eq!(value["version"], 1);
    assert_eq!(subject["workload"]["name"], NAME);
    assert_eq!(subject["policy"]["matchLabels"]["app"], "shop");
    let rules = subject["rules"].as_array().expect("rules");
    assert!(rules.iter().any(|rule| rule["path"] == SCRIPT));
    let left = subject["leftOut"].as_array().expect("left out");
    let bytes = left
        .iter()
        .find(|left| left["shape"] == "/srv/\\xff\\xfe<b>")
        .expect("bytes");
    assert_eq!(bytes["why"]["kind"], "unexpressed");
    assert_eq!(bytes["samples"][0]["path"], "/srv/\\xff\\xfe<b>");
    assert_eq!(bytes["samples"][0]["pathBytes"], "L3Nydi///jxiPg==");
    let held = subject["held"].as_array().expect("held");
    assert!(
        held.iter()
            .any(|held| held["path"] == IMAGE && held["reasons"][0]["kind"] == "denied")
    );
    let renamed = held
        .iter()
        .find(|held| held["op"] == "rename")
        .expect("rename");
    assert_eq!(renamed["pathBytes"], "L3Nydi///jxiPg==");
    assert_eq!(renamed["to"]["path"], LINES);
    assert_eq!(subject["readiness"]["runs"], 3);
    assert_eq!(
        subject["readiness"]["partial"][0]["reasons"][0]["kind"],
        "lost"
    );
    assert_eq!(subject["convergence"].as_array().map(Vec::len), Some(4));
}

fn keys<'v>(value: &'v Value, all: &mut BTreeSet<&'v str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| keys(item, all)),
        Value::Object(fields) => {
            for (name, value) in fields {
                if name == "matchLabels" {
                    // Its fields are labels.
                    all.insert(name);
                    continue;
                }
                all.insert(name);
                keys(value, all);
            }
        }
        _ => {}
    }
}

#[test]
fn every_field_of_the_json_is_documented() {
    let documented = include_str!("../../../docs/report.md");
    let value: Value = serde_json::from_str(&json(&hostile())).expect("JSON");
    let mut all = BTreeSet::new();
    keys(&value, &mut all);
    for rare in ["items", "to", "access", "step", "paths", "pathBytes"] {
        assert!(all.contains(rare), "{rare}");
    }
    let missing: Vec<_> = all
        .iter()
        .filter(|key| !documented.contains(&format!("`{key}`")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_is_uncertain_comes_before_the_rules() {
    let all = hostile();
    let text = text(&all);
    let at = |what: &str| {
        text.find(what)
            .unwrap_or_else(|| panic!("{what} in {text}"))
    };
    assert!(at("What is uncertain") < at("\nRules\n"));
    assert!(at("would be denied") < at("\nRules\n"));
    assert!(at("1 run was not watched whole") < at("\nRules\n"));
    assert!(at("a shell (T1059.004, 1 rule)") < at("\nRules\n"));
    let short = summary(&all[1]);
    assert!(
        short[0].starts_with("shop/Deployment/plain/plain: "),
        "{short:?}"
    );
    assert!(
        short[0].contains(" of 256 entries of the rule map"),
        "{short:?}"
    );
    assert!(
        short.iter().any(|line| line.contains("1 partial run")),
        "{short:?}"
    );
}

#[test]
fn without_a_complete_run_nothing_is_promised() {
    let workloads = [workload("plain", "Deployment")];
    let late = observations(&workloads[0], "run-")
        .into_iter()
        .filter(|o| o.fact != Fact::Start)
        .collect();
    let all = recommended(&workloads, late);
    assert!(
        text(&all).contains("no run was watched whole, so nothing can be said of the next one")
    );
    assert!(!html(&all).contains("Chance of anything new"));
    let value: Value = serde_json::from_str(&json(&all)).expect("JSON");
    assert_eq!(value["workloads"][0]["readiness"]["chance"], Value::Null);
}

#[test]
fn no_recommendation_is_a_report_too() {
    assert_eq!(text(&[]), "No policy was recommended.\n");
    let value: Value = serde_json::from_str(&json(&[])).expect("JSON");
    assert_eq!(value, serde_json::json!({"version": 1, "workloads": []}));
    let page = Page::parse(&html(&[]));
    page.assert_harmless();
    assert!(page.text.contains("No policy was recommended."));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_a_path_holds_the_page_is_the_same_but_for_its_text(
        name in prop::collection::vec(prop_oneof![
            Just(b'<'), Just(b'>'), Just(b'"'), Just(b'\''), Just(b'&'), Just(b'-'), Just(b'!'), Just(b'\n'),
            1u8..=255,
        ], 1..60),
    ) {
        static ORDINARY: OnceLock<Vec<Recommendation>> = OnceLock::new();
        let ordinary = ORDINARY.get_or_init(|| {
            let plain = workload("plain", "Deployment");
            recommended(std::slice::from_ref(&plain), observations(&plain, "run-"))
        });
        let rule = |name: &[u8]| {
            let mut all = ordinary.clone();
            all[0].rules = vec![odd_rule(name)];
            all
        };
        // Slashes make directories.
        let name: Vec<u8> = name.into_iter().filter(|byte| *byte != b'/').collect();
        let all = rule(&[b"/srv/x", name.as_slice()].concat());
        let page = Page::parse(&html(&all));
        let plain = Page::parse(&html(&rule(b"/srv/x")));
        prop_assert_eq!(page.elements, plain.elements);
        prop_assert_eq!(page.attributes, plain.attributes);
        let lines = |all: &[Recommendation]| text(all).lines().count();
        prop_assert_eq!(lines(&all), lines(&rule(b"/srv/x")));
    }
}
