//! `learner completions SHELL`.

use clap::CommandFactory;

use crate::Verdict;
use crate::answer::Answer;
use crate::args::{Cli, Completions};
use crate::failure::Failure;

pub(crate) fn run(args: &Completions) -> Result<Verdict, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "learner", &mut script);
    let mut answer = Answer::begin();
    answer.print(&String::from_utf8_lossy(&script))?;
    answer.end()?;
    Ok(Verdict::Done)
}
