//! `learner crd`.

use crate::Verdict;
use crate::answer::Answer;
use crate::failure::Failure;

pub(crate) fn run() -> Result<Verdict, Failure> {
    let mut answer = Answer::begin();
    for (_, definition) in learner::cluster::crds() {
        answer.print("---\n")?;
        answer.print(&definition)?;
    }
    answer.end()?;
    Ok(Verdict::Done)
}
