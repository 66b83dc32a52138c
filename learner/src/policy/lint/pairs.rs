//! Rules that write the same key, and rules that another one leaves nothing to.

use super::{Keyed, LintKind, Lints};
use crate::policy::document::{Directory, Effect, PathRule, Policy, Source, Spec};

/// A rule with what matters of it for another of the same key.
struct Said<'p> {
    policy: &'p str,
    field: String,
    effect: Effect,
    read_only: bool,
    owner_only: bool,
    recursive: bool,
    terminal: bool,
}

impl Said<'_> {
    /// Whether the two say the same of the directory itself.
    fn says_as_object(&self, other: &Self) -> bool {
        let recursive = self.recursive;
        self.says_the_same(&Said {
            recursive,
            ..copy(other)
        })
    }

    fn says_the_same(&self, other: &Self) -> bool {
        (
            self.effect,
            self.read_only,
            self.owner_only,
            self.recursive,
            self.terminal,
        ) == (
            other.effect,
            other.read_only,
            other.owner_only,
            other.recursive,
            other.terminal,
        )
    }
}

/// A rule for a recursive directory that leaves nothing to narrower ones.
struct Wide<'p> {
    program: bool,
    source: String,
    dir: &'p str,
    said: Said<'p>,
}

pub(super) fn lint<'p>(policies: &[&'p Policy], lints: &mut Lints<'p>) {
    let mut keys: Keyed<Said<'p>> = Keyed::new();
    for policy in policies {
        for (program, key, source, said) in rules(policy) {
            // A directory also writes the key of itself as a path, and the other way round.
            let twin = match key.strip_suffix('/') {
                Some(object) => object.to_owned(),
                None => format!("{key}/"),
            };
            let twin = keys.get(&(program, twin, source.clone()));
            if let Some(twin) = twin.filter(|twin| !twin.says_as_object(&said)) {
                conflict(lints, twin, &said);
            }
            let key = (program, key, source);
            if let Some(earlier) = keys.get(&key) {
                conflict(lints, earlier, &said);
            }
            keys.insert(key, said);
        }
    }
    let wide: Vec<Wide<'p>> = policies
        .iter()
        .flat_map(|policy| recursive(policy))
        .collect();
    for policy in policies {
        for (program, key, source, said) in rules(policy) {
            let above = wide.iter().find(|wide| {
                wide.program == program
                    && wide.source == source
                    && key.len() > wide.dir.len()
                    && key.starts_with(wide.dir)
            });
            let Some(above) = above else { continue };
            // A path goes before a directory; it is idle only where it says the same. A directory
            // that is not recursive never overrides one above it that is.
            let directory = key.ends_with('/');
            let same = Said {
                recursive: said.recursive,
                field: String::new(),
                ..copy(&above.said)
            }
            .says_the_same(&said);
            lints.policy = said.policy;
            if same {
                let text = format!("{} says the same of all of it", name(&above.said, &said));
                lints.add(&said.field, LintKind::Shadowed, text);
            } else if directory && !said.recursive {
                let text = format!(
                    "{} decides about what is in it: a directory that is not recursive never overrides one above it that is",
                    name(&above.said, &said)
                );
                lints.add(&said.field, LintKind::Shadowed, text);
            }
        }
    }
}

fn copy<'p>(said: &Said<'p>) -> Said<'p> {
    Said {
        field: said.field.clone(),
        ..*said
    }
}

fn name(other: &Said<'_>, of: &Said<'_>) -> String {
    if other.policy == of.policy {
        other.field.clone()
    } else {
        format!("{} of {}", other.field, other.policy.escape_debug())
    }
}

fn conflict<'p>(lints: &mut Lints<'p>, earlier: &Said<'p>, later: &Said<'p>) {
    lints.policy = later.policy;
    if earlier.says_the_same(later) {
        let text = format!("{} says the same", name(earlier, later));
        lints.add(&later.field, LintKind::Shadowed, text);
    } else {
        let text = format!(
            "it writes over {}, which says something else of the same path",
            name(earlier, later)
        );
        lints.add(&later.field, LintKind::Conflict, text);
    }
}

/// Every rule that is enforced, once for each source: whether it is about programs, its key, the
/// source.
fn rules(policy: &Policy) -> impl Iterator<Item = (bool, String, String, Said<'_>)> {
    let spec = &policy.spec;
    let process = spec.process.action.as_ref();
    let file = spec.file.action.as_ref();
    let of_paths = |program, section, list: &'_ [PathRule]| {
        let list = list.iter().enumerate();
        list.map(move |(index, rule)| {
            let key = match rule.execname.as_deref() {
                Some(name) if !name.is_empty() => name.to_owned(),
                _ => rule.path.clone(),
            };
            let said = Said {
                policy: &policy.metadata.name,
                field: format!("{}.matchPaths[{index}]", section_name(program)),
                effect: spec.effect(section, rule.action.as_ref()),
                read_only: rule.read_only == Some(true),
                owner_only: rule.owner_only == Some(true),
                recursive: false,
                terminal: rule.pts == Some(false),
            };
            (program, key, sources(&rule.from_source), said)
        })
        .collect::<Vec<_>>()
    };
    let paths = of_paths(true, process, &spec.process.match_paths)
        .into_iter()
        .chain(of_paths(false, file, &spec.file.match_paths));
    paths
        .chain(directories(policy))
        .filter(|(.., said)| matches!(said.effect, Effect::Allow | Effect::Block))
        .flat_map(|(program, key, sources, said)| {
            sources
                .into_iter()
                .map(move |source| (program, key.clone(), source, copy(&said)))
        })
}

type Unfolded<'p> = (bool, String, Vec<String>, Said<'p>);

fn directories(policy: &Policy) -> Vec<Unfolded<'_>> {
    let spec: &Spec = &policy.spec;
    let mut all = Vec::new();
    for (program, section, list) in [
        (
            true,
            spec.process.action.as_ref(),
            &spec.process.match_directories,
        ),
        (
            false,
            spec.file.action.as_ref(),
            &spec.file.match_directories,
        ),
    ] {
        for (index, rule) in list.iter().enumerate() {
            let said = Said {
                policy: &policy.metadata.name,
                field: format!("{}.matchDirectories[{index}]", section_name(program)),
                effect: spec.effect(section, rule.action.as_ref()),
                read_only: rule.read_only == Some(true),
                owner_only: rule.owner_only == Some(true),
                recursive: rule.recursive == Some(true),
                terminal: rule.pts == Some(false),
            };
            all.push((program, rule.dir.clone(), sources(&rule.from_source), said));
        }
    }
    all
}

fn recursive(policy: &Policy) -> Vec<Wide<'_>> {
    let spec = &policy.spec;
    let lists: [(bool, &[Directory]); 2] = [
        (true, &spec.process.match_directories),
        (false, &spec.file.match_directories),
    ];
    let dirs = lists.into_iter().flat_map(|(program, list)| {
        let dirs = list.iter().map(|rule| rule.dir.as_str());
        std::iter::repeat_n(program, list.len()).zip(dirs)
    });
    // In the order of `directories`.
    let said = directories(policy).into_iter();
    dirs.zip(said)
        .filter(|(_, (.., said))| said.recursive)
        .filter(|(_, (.., said))| matches!(said.effect, Effect::Allow | Effect::Block))
        .flat_map(|((program, dir), (_, _, sources, said))| {
            sources.into_iter().map(move |source| Wide {
                program,
                source,
                dir,
                said: copy(&said),
            })
        })
        .collect()
}

fn section_name(program: bool) -> &'static str {
    if program { "spec.process" } else { "spec.file" }
}

fn sources(sources: &[Source]) -> Vec<String> {
    if sources.is_empty() {
        vec![String::new()]
    } else {
        sources.iter().map(|source| source.path.clone()).collect()
    }
}
