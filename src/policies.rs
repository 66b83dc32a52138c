//! Recommended policies on their way out: to files, to standard output, and in words.

use std::fs;
use std::path::Path;

use learner::generalize::LeftOut;
use learner::policy::{Policy, names, to_yaml};
use learner::recommend::Recommendation;

use crate::answer::Answer;
use crate::args::PolicyFormat;
use crate::failure::Failure;
use crate::talk::{made, visible};

impl PolicyFormat {
    fn extension(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Json => "json",
        }
    }

    /// The policy as text that ends with a newline.
    pub(crate) fn print(self, policy: &Policy) -> String {
        match self {
            Self::Yaml => to_yaml(policy),
            Self::Json => format!(
                "{:#}\n",
                serde_json::to_value(policy).unwrap_or(serde_json::Value::Null)
            ),
        }
    }
}

/// Writes a policy below the directory as karmor lays it out, and says so.
pub(crate) fn to_file(
    outdir: &Path,
    recommendation: &Recommendation,
    format: PolicyFormat,
) -> Result<(), Failure> {
    let name = names::relative_path(&recommendation.workload, format.extension());
    to_this_file(&outdir.join(name), recommendation, format)
}

/// Writes a policy to a file, and says so.
pub(crate) fn to_this_file(
    path: &Path,
    recommendation: &Recommendation,
    format: PolicyFormat,
) -> Result<(), Failure> {
    if let Some(folder) = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
    {
        fs::create_dir_all(folder).map_err(|e| Failure::file(folder, "making the directory", e))?;
    }
    fs::write(path, format.print(&recommendation.policy))
        .map_err(|e| Failure::file(path, "writing", e))?;
    made(format_args!("created policy {} ...", path.display()));
    Ok(())
}

/// Writes the policies to standard output.
pub(crate) fn to_answer(
    recommendations: &[Recommendation],
    format: PolicyFormat,
) -> Result<(), Failure> {
    let mut answer = Answer::begin();
    for (index, recommendation) in recommendations.iter().enumerate() {
        if index > 0 && format == PolicyFormat::Yaml {
            answer.print("---\n")?;
        }
        answer.print(&format.print(&recommendation.policy))?;
    }
    answer.end()
}

/// Says in a few lines what stands behind the policy, what it leaves out and what it grants.
pub(crate) fn explain(recommendation: &Recommendation) {
    let workload = visible(&recommendation.workload.to_string());
    for note in &recommendation.notes {
        tracing::warn!("{workload}: {note}");
    }
    let wide = recommendation.rules.iter().filter(|rule| rule.is_wide());
    let wide = wide.map(|rule| format!("granted beyond what was seen: {rule}"));
    let without = recommendation.left_out.iter().map(without_rule);
    say_some(&workload, wide);
    say_some(&workload, without);
    crate::quarantine::say(recommendation);
    for line in learner::report::summary(recommendation) {
        tracing::info!("{line}");
    }
}

/// So many lines of a kind are said; the report has all.
const SAID: usize = 20;

fn say_some(workload: &str, lines: impl Iterator<Item = String>) {
    let mut more = 0;
    for (index, line) in lines.enumerate() {
        if index < SAID {
            tracing::warn!("{workload}: {line}");
        } else {
            tracing::debug!("{workload}: {line}");
            more += 1;
        }
    }
    if more > 0 {
        tracing::warn!("{workload}: {more} more such lines; -v shows them, and so does -r REPORT");
    }
}

fn without_rule(left: &LeftOut) -> String {
    let LeftOut { need, support, why } = left;
    let sample = support.samples.first();
    let sample = sample.map_or_else(|| need.shape.to_string(), ToString::to_string);
    match &need.source {
        Some(source) => format!("no rule for {sample} by {source}: {why}"),
        None => format!("no rule for {sample}: {why}"),
    }
}

/// Writes the report, in the form that the name ends in, and says so.
pub(crate) fn report(path: &Path, recommendations: &[Recommendation]) -> Result<(), Failure> {
    let text = match path.extension().and_then(|ending| ending.to_str()) {
        Some("html") => learner::report::html(recommendations),
        Some("json") => learner::report::json(recommendations),
        _ => learner::report::text(recommendations),
    };
    fs::write(path, text).map_err(|e| Failure::file(path, "writing", e))?;
    made(format_args!("output report in {} ...", path.display()));
    Ok(())
}
