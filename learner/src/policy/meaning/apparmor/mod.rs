//! The AppArmor enforcer: profiles that KubeArmor writes from the policies.
//!
//! Read from KubeArmor's source at 510cee31 and from apparmor.d(5); not measured. What differs
//! from the BPF-LSM enforcer: patterns are honoured, there is no limit of keys, lengths or depth,
//! neither `pts` nor `allowedArgs` is known, readOnly and ownerOnly do not hold under the audit
//! posture, and under block a single Allow rule for programs or files restricts both.
//!
//! Not told apart here: a program that is started by one with a profile of its own runs in that
//! profile. And reports come from KubeArmor's monitor, so they need its visibility for the class.

use super::enforcer::{Class, Posture, Postures};
use super::hook::{FileHook, Hook, Program};
use super::judgement::{Because, Fact, Judgement, Verdict, Why};
use crate::behavior::Access;
use crate::policy::document::Policy;

mod baseline;
mod glob;
mod profile;

use glob::{Line, Who, bit};
pub(super) use profile::Profile;
use profile::Profiles;

/// What the enforcer holds for a container.
pub(super) struct Container {
    profiles: Profiles,
    postures: Postures,
}

impl Container {
    pub(super) fn new(policies: &[&Policy], postures: Postures) -> Self {
        Self {
            profiles: Profiles::new(policies, postures),
            postures,
        }
    }

    /// The profile that a program runs in. None if it is not known which program.
    pub(super) fn profile(&self, program: Program<'_>) -> Option<&Profile> {
        let container = &self.profiles.container;
        match program {
            Program::Path(path) => {
                let own = self.profiles.programs.get(path);
                Some(own.unwrap_or(container))
            }
            Program::Nameless => Some(container),
            Program::Unknown => None,
        }
    }

    pub(super) fn ask(&self, hook: Hook<'_>, profile: Option<&Profile>) -> Judgement {
        if let Some(what) = self.profiles.unreadable {
            return Judgement::unknown(Why::NotMeasured(what));
        }
        match profile {
            Some(profile) => self.decide(hook, profile),
            None => {
                let mut judgement = self.decide(hook, &self.profiles.container);
                for profile in self.profiles.programs.values() {
                    judgement = judgement.or(self.decide(hook, profile), Fact::Source);
                    if judgement.verdict == Verdict::Unknown {
                        break;
                    }
                }
                judgement
            }
        }
    }

    fn decide(&self, hook: Hook<'_>, profile: &Profile) -> Judgement {
        match hook {
            Hook::Exec { path, owner, .. } => {
                self.path(profile, Class::Process, path, bit::EXEC, owner)
            }
            Hook::File { hook, path, owner } => self.file(profile, hook, path, owner),
            Hook::Socket { .. } if self.profiles.has_sockets => {
                Judgement::unknown(Why::NotMeasured("rules for sockets under AppArmor"))
            }
            Hook::Socket { .. } => Judgement::allowed(Why::NotRestricted(Class::Network)),
            Hook::Capable { capability } => self.capable(profile, capability),
        }
    }

    /// What the hooks ask for (the kernel's security/apparmor/lsm.c). Directories have a slash at
    /// their end.
    fn file(
        &self,
        profile: &Profile,
        hook: FileHook,
        path: &[u8],
        owner: Option<bool>,
    ) -> Judgement {
        let wanted = match hook {
            FileHook::Open(Access::Read) => bit::READ,
            FileHook::Open(Access::Write)
            | FileHook::Mknod
            | FileHook::Mkdir
            | FileHook::Rmdir
            | FileHook::Unlink
            | FileHook::Symlink
            | FileHook::Chmod
            | FileHook::Truncate => bit::WRITE,
            FileHook::Open(Access::ReadWrite) | FileHook::Rename => bit::READ | bit::WRITE,
            FileHook::Link => bit::LINK,
            // Settled by the open.
            FileHook::Write => return Judgement::allowed(Why::NoHook),
        };
        let mut with_slash;
        let path = match hook {
            FileHook::Mkdir | FileHook::Rmdir if !path.ends_with(b"/") => {
                with_slash = path.to_vec();
                with_slash.push(b'/');
                &with_slash
            }
            _ => path,
        };
        self.path(profile, Class::File, path, wanted, owner)
    }

    fn path(
        &self,
        profile: &Profile,
        class: Class,
        path: &[u8],
        wanted: u8,
        owner: Option<bool>,
    ) -> Judgement {
        match owner {
            Some(owner) => self.owned(profile, class, path, wanted, owner),
            None => {
                let others = self.owned(profile, class, path, wanted, false);
                let owners = self.owned(profile, class, path, wanted, true);
                owners.or(others, Fact::Owner)
            }
        }
    }

    fn owned(
        &self,
        profile: &Profile,
        class: Class,
        path: &[u8],
        wanted: u8,
        owner: bool,
    ) -> Judgement {
        let who = if owner { Who::Owner } else { Who::Other };
        let said = profile.lines.about(path, who, wanted);
        let cited = |line: &Line, because| match &line.rule {
            Some(rule) => Why::Rule {
                rule: rule.clone(),
                because,
            },
            None => Why::Baseline,
        };
        if let Some(line) = said.denying {
            return Judgement::denied(cited(line, Because::Blocks));
        }
        if let Some(line) = said.allowing
            && said.is_granted()
        {
            return Judgement::allowed(cited(line, Because::Allows));
        }
        self.unmatched(profile.file, class)
    }

    /// No line decides: what is left is the line that allows the whole class.
    fn unmatched(&self, allowed: bool, class: Class) -> Judgement {
        if !allowed {
            let posture = Posture::Block;
            return Judgement::denied(Why::Posture { class, posture });
        }
        let posture = self.postures.of(class);
        if self.profiles.restricted[class as usize] && posture == Posture::Audit {
            return Judgement::reported(Why::Posture { class, posture });
        }
        Judgement::allowed(Why::NotRestricted(class))
    }

    fn capable(&self, profile: &Profile, capability: u8) -> Judgement {
        let name = super::bpf::CAPABILITIES.get(usize::from(capability));
        if let Some((deny, rule)) = name.and_then(|name| profile.capability(name)) {
            let rule = rule.clone();
            return if deny {
                let because = Because::Blocks;
                Judgement::denied(Why::Rule { rule, because })
            } else {
                let because = Because::Allows;
                Judgement::allowed(Why::Rule { rule, because })
            };
        }
        self.unmatched(profile.capability, Class::Capabilities)
    }
}

#[cfg(test)]
mod tests;
