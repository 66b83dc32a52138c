//! `learner readiness`.

use comfy_table::{Table, presets};
use learner::percent;
use learner::readiness::{Estimate, Readiness};
use learner::recommend::Recommendation;
use serde_json::json;

use crate::Verdict;
use crate::answer::{Answer, lines};
use crate::args::{self, Global, TableFormat};
use crate::failure::Failure;
use crate::recommend::{Made, make};
use crate::talk::visible;

pub(crate) fn run(global: &Global, args: &args::Readiness) -> Result<Verdict, Failure> {
    let Some(Made { made, workloads }) = make(global, &args.which, &args.making, &args.from)?
    else {
        return Ok(Verdict::No);
    };
    let mut answer = Answer::begin();
    match args.format {
        TableFormat::Json => {
            let all: Vec<_> = made.iter().map(whole).collect();
            answer.print(&format!("{:#}\n", serde_json::Value::Array(all)))?;
        }
        TableFormat::Table => answer.print(&short(&made))?,
    }
    answer.end()?;
    Ok(if made.len() == workloads {
        Verdict::Done
    } else {
        Verdict::No
    })
}

fn whole(recommendation: &Recommendation) -> serde_json::Value {
    let Recommendation {
        workload,
        readiness,
        convergence,
        ..
    } = recommendation;
    json!({ "workload": workload, "readiness": readiness, "convergence": convergence })
}

fn short(made: &[Recommendation]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header([
        "WORKLOAD",
        "RUNS",
        "PARTIAL",
        "BEHAVIORS",
        "ANYTHING NEW IN THE NEXT RUN",
        "SHARE THAT IS NEW",
        "DENIED WHEN LEFT OUT",
    ]);
    for recommendation in made {
        let Readiness {
            runs,
            left_out,
            behaviors,
            chance,
            share,
            left_one_out,
            ..
        } = &recommendation.readiness;
        let hit = left_one_out.iter().filter(|left| left.denied > 0).count();
        table.add_row([
            visible(&recommendation.workload.to_string()),
            runs.to_string(),
            left_out.len().to_string(),
            behaviors.to_string(),
            estimate(chance.as_ref()),
            estimate(share.as_ref()),
            format!("{hit} of {} runs", left_one_out.len()),
        ]);
    }
    lines(&table)
}

/// `4.0 %, at most 15.2 %`.
fn estimate(estimate: Option<&Estimate>) -> String {
    estimate.map_or_else(
        || "no whole run".to_owned(),
        |Estimate { expected, at_most }| {
            let (expected, at_most) = (percent::expected(*expected), percent::bound(*at_most));
            format!("{expected}, at most {at_most}")
        },
    )
}
