//! Policies as YAML, the way `kubectl` and every reader of YAML 1.1 or 1.2 take them.
//!
//! Kubernetes reads YAML 1.1, where a bare `yes`, `on`, `0x10` or `1_000` is not text. So whatever
//! is not plainly text is written in double quotes, with escapes for what a terminal or an editor
//! would hide: control characters, byte order marks, marks of writing direction.

use std::fmt::Write as _;

use serde::{Deserialize, Deserializer, Serialize};
use serde_yaml::Value;

use super::document::{Kind, Policy};

/// Why a document is not a policy.
#[derive(Debug, thiserror::Error)]
pub enum BadPolicy {
    /// Not YAML, or not the fields of a policy.
    #[error("document {number}: {source}")]
    Fields {
        /// Counted from 1.
        number: usize,
        /// What the YAML reader says, with line and column.
        source: serde_yaml::Error,
    },
    /// Another version.
    #[error("document {number}: apiVersion '{}', where {} was expected", found.escape_debug(), Policy::API_VERSION)]
    Version {
        /// Counted from 1.
        number: usize,
        /// What it says it is.
        found: String,
    },
    /// Another kind.
    #[error(
        "document {number}: kind '{}', where {} was expected",
        found.escape_debug(),
        Kind::ALL.map(Kind::as_str).join(", or ")
    )]
    Kind {
        /// Counted from 1.
        number: usize,
        /// What it says it is.
        found: String,
    },
    /// A KubeArmorNetworkPolicy: packet filtering by another engine.
    #[error(
        "document {number}: KubeArmorNetworkPolicy filters packets and is not read by Learner; leave it out"
    )]
    NetworkPolicy {
        /// Counted from 1.
        number: usize,
    },
}

/// One document, without a `---`: a policy, or anything else that is made of strings, numbers,
/// lists, and maps with text for keys.
pub fn to_yaml<T: Serialize>(document: &T) -> String {
    let mut out = String::new();
    // What is made of these always becomes a value.
    let value = serde_yaml::to_value(document).unwrap_or(Value::Null);
    block(&mut out, &value, 0);
    out
}

/// Many objects in one document.
#[derive(Deserialize)]
struct List {
    #[serde(default)]
    items: Vec<Value>,
}

/// What a document says it is.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    #[serde(default)]
    api_version: Option<String>,
    #[serde(default)]
    kind: Option<String>,
}

/// All documents of a text; empty ones are left out.
///
/// # Errors
/// [`BadPolicy`] names the document that is not a policy, or holds a field in its `spec` that
/// Learner does not know.
pub fn from_yaml(text: &str) -> Result<Vec<Policy>, BadPolicy> {
    documents(text).into_iter().collect()
}

/// All documents of a text, each as a policy or as what it is instead; empty ones are left out, and
/// a list, as `kubectl get -o yaml` prints it, is what it holds. After one that cannot be read there
/// is no other.
pub fn documents(text: &str) -> Vec<Result<Policy, BadPolicy>> {
    let heads = serde_yaml::Deserializer::from_str(text);
    let bodies = serde_yaml::Deserializer::from_str(text);
    let mut documents = Vec::new();
    for (index, (head, body)) in heads.zip(bodies).enumerate() {
        let number = index + 1;
        match Option::<Head>::deserialize(head) {
            Ok(None) => {}
            Ok(Some(head)) if head.is_list() => match List::deserialize(body) {
                Ok(list) => documents.extend(list.items.into_iter().map(|item| {
                    let head = Head::deserialize(&item);
                    read(number, head, item)
                })),
                Err(source) => documents.push(Err(BadPolicy::Fields { number, source })),
            },
            head => documents.push(read(number, head.map(Option::unwrap_or_default), body)),
        }
        if matches!(documents.last(), Some(Err(BadPolicy::Fields { .. }))) {
            break;
        }
    }
    documents
}

fn read<'de>(
    number: usize,
    head: Result<Head, serde_yaml::Error>,
    body: impl Deserializer<'de, Error = serde_yaml::Error>,
) -> Result<Policy, BadPolicy> {
    let fields = |source| BadPolicy::Fields { number, source };
    check_head(number, &head.map_err(fields)?)?;
    Policy::deserialize(body).map_err(fields)
}

impl Head {
    /// `List` of any objects, or a list of one of the kinds of policies.
    fn is_list(&self) -> bool {
        match (self.api_version.as_deref(), self.kind.as_deref()) {
            (Some("v1"), Some("List")) => true,
            (Some(Policy::API_VERSION), Some(kind)) => kind
                .strip_suffix("List")
                .is_some_and(|kind| Kind::ALL.iter().any(|own| own.as_str() == kind)),
            _ => false,
        }
    }
}

impl BadPolicy {
    /// It is a document of another kind, not a policy that cannot be read.
    pub fn is_of_another_kind(&self) -> bool {
        !matches!(self, Self::Fields { .. })
    }
}

fn check_head(number: usize, head: &Head) -> Result<(), BadPolicy> {
    if let Some(found) = &head.api_version
        && found != Policy::API_VERSION
    {
        let found = found.clone();
        return Err(BadPolicy::Version { number, found });
    }
    match head.kind.as_deref() {
        Some("KubeArmorNetworkPolicy") => Err(BadPolicy::NetworkPolicy { number }),
        Some(found) if Kind::ALL.iter().all(|kind| kind.as_str() != found) => {
            let found = found.to_owned();
            Err(BadPolicy::Kind { number, found })
        }
        // Nothing says that it is a document of Kubernetes.
        None if head.api_version.is_none() => Err(BadPolicy::Kind {
            number,
            found: String::new(),
        }),
        // A kind that is missing is named by the reader of the whole document.
        _ => Ok(()),
    }
}

/// A map or a list, every entry on lines of its own.
fn block(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Mapping(map) => {
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 || !out.ends_with("- ") {
                    pad(out, indent);
                }
                scalar(out, key);
                out.push(':');
                match value {
                    Value::Mapping(inner) if !inner.is_empty() => {
                        out.push('\n');
                        block(out, value, indent + 2);
                    }
                    Value::Sequence(inner) if !inner.is_empty() => {
                        out.push('\n');
                        block(out, value, indent);
                    }
                    _ => {
                        out.push(' ');
                        scalar(out, value);
                        out.push('\n');
                    }
                }
            }
        }
        Value::Sequence(list) => {
            for item in list {
                pad(out, indent);
                out.push_str("- ");
                match item {
                    Value::Mapping(inner) if !inner.is_empty() => block(out, item, indent + 2),
                    _ => {
                        scalar(out, item);
                        out.push('\n');
                    }
                }
            }
        }
        _ => scalar(out, value),
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn scalar(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => {
            // Writing to a String does not fail.
            let _ = write!(out, "{number}");
        }
        Value::String(text) if is_plain(text) => out.push_str(text),
        Value::String(text) => quoted(out, text),
        Value::Sequence(_) => out.push_str("[]"),
        Value::Mapping(_) => out.push_str("{}"),
        Value::Tagged(tagged) => scalar(out, &tagged.value),
    }
}

/// Text that no version of YAML takes for anything else.
fn is_plain(text: &str) -> bool {
    let first = text.bytes().next();
    first.is_some_and(|c| c == b'/' || c.is_ascii_alphabetic())
        && text.bytes().all(|c| {
            c.is_ascii_alphanumeric() || matches!(c, b'/' | b'.' | b'_' | b'-' | b'+' | b'@')
        })
        && !["y", "n", "yes", "no", "on", "off", "true", "false", "null"]
            .contains(&text.to_ascii_lowercase().as_str())
}

fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        let code = u32::from(c);
        // Writing to a String does not fail.
        let _ = match c {
            '"' => out.write_str("\\\""),
            '\\' => out.write_str("\\\\"),
            '\n' => out.write_str("\\n"),
            '\t' => out.write_str("\\t"),
            '\r' => out.write_str("\\r"),
            _ if is_hidden(c) && code <= 0xff => write!(out, "\\x{code:02x}"),
            _ if is_hidden(c) && code <= 0xffff => write!(out, "\\u{code:04x}"),
            _ if is_hidden(c) => write!(out, "\\U{code:08x}"),
            _ => out.write_char(c),
        };
    }
    out.push('"');
}

/// Not printable in YAML, or not seen by who reads it.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{a0}' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff0}'..='\u{ffff}'
            | '\u{e0000}'..='\u{10ffff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(text: &str) -> String {
        let mut out = String::new();
        scalar(&mut out, &Value::String(text.to_owned()));
        out
    }

    #[test]
    fn text_that_yaml_takes_for_something_else_is_quoted() {
        for text in [
            "yes",
            "No",
            "on",
            "OFF",
            "y",
            "N",
            "true",
            "null",
            "~",
            "",
            "0x10",
            "1_000",
            "017",
            "1e3",
            "2026-11-23",
            "-",
            "- x",
            "!tag",
            "*alias",
            "&anchor",
            "%x",
            "@x",
            "a: b",
            "a #b",
            "[nginx]",
            "{}",
            "?",
            "|",
            ">",
            "'",
            "\"",
            "/a b",
            "/a:b",
            "/#",
            " /x",
        ] {
            assert!(
                printed(text).starts_with('"'),
                "{text:?}: {}",
                printed(text)
            );
        }
        for text in [
            "/usr/bin/g++",
            "/lib/ld-linux-x86-64.so.2",
            "nginx",
            "security.kubearmor.com/v1",
        ] {
            assert_eq!(printed(text), text);
        }
    }

    #[test]
    fn what_an_editor_hides_is_escaped() {
        assert_eq!(
            printed("/\u{202e}\u{feff}\u{7f}\u{85}\n\t\"\\\u{1f600}\u{e0041}"),
            r#""/\u202e\ufeff\x7f\x85\n\t\"\\😀\U000e0041""#
        );
    }

    #[test]
    fn another_kind_and_an_unknown_rule_are_refused() {
        let refused = |text: &str| from_yaml(text).expect_err("refused").to_string();
        let nsp = "apiVersion: security.kubearmor.com/v1\nkind: KubeArmorNetworkPolicy\n\
                   metadata: {name: a}\nspec: {ingress: []}\n";
        assert!(
            refused(nsp).contains("KubeArmorNetworkPolicy"),
            "{}",
            refused(nsp)
        );
        let other = "---\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: a}\n";
        assert_eq!(
            refused(other),
            "document 2: apiVersion 'v1', where security.kubearmor.com/v1 was expected"
        );
        let other = "kind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n";
        assert!(matches!(
            from_yaml(other),
            Err(BadPolicy::Kind { number: 1, .. })
        ));
        let unknown = "---\napiVersion: security.kubearmor.com/v1\nkind: KubeArmorPolicy\n\
                       metadata: {name: a, namespace: b}\n\
                       spec: {selector: {}, sockets: {}, action: Allow}\n";
        assert!(refused(unknown).contains("sockets"), "{}", refused(unknown));
        assert!(from_yaml("---\n---\n").expect("empty").is_empty());
    }

    #[test]
    fn a_list_is_what_it_holds() {
        let text = "apiVersion: v1\nkind: List\nmetadata: {resourceVersion: \"\"}\nitems:\n\
                    - apiVersion: security.kubearmor.com/v1\n  kind: KubeArmorPolicy\n  \
                    metadata: {name: a, uid: x}\n  spec: {action: Allow}\n  status: {status: OK}\n\
                    - {apiVersion: v1, kind: Pod, metadata: {name: b}}\n";
        let found = documents(text);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].as_ref().expect("a policy").metadata.name, "a");
        assert!(matches!(&found[1], Err(other) if other.is_of_another_kind()));
        assert!(documents("kind: List\napiVersion: v1\nitems: []\n").is_empty());
    }

    proptest! {
        #[test]
        fn any_text_is_read_back_as_itself(text in any::<String>()) {
            prop_assert_eq!(serde_yaml::from_str::<Value>(&printed(&text)).expect("yaml"), Value::String(text));
        }

        #[test]
        fn any_short_word_is_read_back_as_itself(text in "[-+.0-9a-zA-Z_~]{0,5}") {
            prop_assert_eq!(serde_yaml::from_str::<Value>(&printed(&text)).expect("yaml"), Value::String(text));
        }
    }
}
