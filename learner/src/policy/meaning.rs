//! stub
use crate::behavior::*; use super::Policy;
#[derive(Clone,Copy,Debug,PartialEq,Eq)] pub enum Enforcer { Bpf, AppArmor }
#[derive(Clone,Copy,Debug,PartialEq,Eq)] pub enum Posture { Audit, Block }
#[derive(Clone,Copy,Debug,PartialEq,Eq)] pub struct Postures { pub file: Posture }
impl Postures { pub fn all(file: Posture) -> Self { Self { file } } }
pub struct Operation<'a>(pub &'a Behavior);
impl<'a> From<&'a Behavior> for Operation<'a> { fn from(b: &'a Behavior) -> Self { Self(b) } }
#[derive(Clone,Copy,Debug,PartialEq,Eq)] pub enum Verdict { Allowed, Denied, Unknown }
pub struct Judgement { pub verdict: Verdict, pub alert: bool, pub why: String }
pub struct Enforced(Policy);
impl Enforced { pub fn new(_: Enforcer, p: &[&Policy], _: Postures) -> Self { Self(p[0].clone()) }
 pub fn judge(&self, o: &Operation<'_>) -> Judgement {
  let p = o.0.path.as_str().unwrap_or("/"); let obj = p.strip_suffix('/').unwrap_or(p); let src = o.0.source.as_ref().and_then(|s| s.as_str());
  let by = |f: &Vec<super::Source>| f.is_empty() || f.iter().any(|s| Some(s.path.as_str()) == src);
  let ok = obj.is_empty() || self.0.spec.file.match_paths.iter().any(|r| r.path == obj && by(&r.from_source)) || self.0.spec.file.match_directories.iter().any(|r| obj.strip_prefix(&r.dir[..]).is_some_and(|x| r.recursive == Some(true) || !x.contains('/')) && by(&r.from_source)) || !self.0.spec.file.match_patterns.is_empty();
  Judgement { verdict: if ok { Verdict::Allowed } else { Verdict::Denied }, alert: !ok, why: "posture".into() } } }
