//! `learner completions SHELL`.

use clap::CommandFactory;

use crate::answer::Answer;
use crate::args::{Cli, Completions};
use crate::failure::Failure;
use crate::{PLUGIN, Verdict, is_plugin};

pub(crate) fn run(args: &Completions) -> Result<Verdict, Failure> {
    let mut script = Vec::new();
    let name = if is_plugin() { PLUGIN } else { "learner" };
    clap_complete::generate(args.shell, &mut Cli::command(), name, &mut script);
    let mut answer = Answer::begin();
    answer.print(&String::from_utf8_lossy(&script))?;
    answer.end()?;
    Ok(Verdict::Done)
}
