//! The curve of convergence: what each run added, and what was known after it.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::document::InRun;

const SIZE: (u32, u32) = (720, 240);
/// More points than this are not marked one by one.
const MARKED: usize = 60;

/// The colour of what was known, in light; the style sheet has others for the dark.
const KNOWN: RGBColor = RGBColor(0x8a, 0x93, 0xa3);
/// The colour of what was new.
const NEW: RGBColor = RGBColor(0x1f, 0x5f, 0xc4);
const TEXT: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);

/// As SVG, to be put into a document. `None` without runs.
pub(super) fn svg(runs: &[InRun<'_>]) -> Option<String> {
    let known = runs.last()?.known;
    let mut svg = String::new();
    draw(runs, known, &mut svg).ok()?;
    Some(svg)
}

fn draw(
    runs: &[InRun<'_>],
    top: usize,
    svg: &mut String,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let last = runs.len() as u64;
    let top = (top as u64).max(1);
    let mut chart = ChartBuilder::on(&area)
        .margin(8)
        .margin_right(24)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0..last, 0..top.saturating_add(top / 12 + 1))?;
    let style = ("sans-serif", 13).into_font().color(&TEXT);
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(GRID)
        .axis_style(GRID)
        .label_style(style.clone())
        .axis_desc_style(style.pos(Pos::new(HPos::Center, VPos::Center)))
        .x_labels(runs.len().min(12))
        .y_labels(5)
        .x_desc("runs, in the order in which they began")
        .y_desc("behaviours")
        .draw()?;
    let points = |of: fn(&InRun<'_>) -> usize| {
        let points: Vec<(u64, u64)> = (1..).zip(runs.iter().map(|run| of(run) as u64)).collect();
        points
    };
    let known = [(0, 0)].into_iter().chain(points(|run| run.known));
    chart.draw_series(LineSeries::new(known, KNOWN.stroke_width(2)))?;
    let new = points(|run| run.new);
    chart.draw_series(LineSeries::new(new.iter().copied(), NEW.stroke_width(2)))?;
    if runs.len() <= MARKED {
        let marks = new.iter().map(|at| Circle::new(*at, 4, NEW.filled()));
        chart.draw_series(marks)?;
    }
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::shown::Name;
    use super::*;

    fn runs(number: usize, new: usize) -> Vec<InRun<'static>> {
        let run = |at| InRun {
            run: Name("<b>"),
            behaviors: new,
            new,
            known: at * new,
        };
        (1..=number).map(run).collect()
    }

    #[test]
    fn one_run_many_runs_and_empty_ones_have_a_curve_and_none_has_none() {
        for (number, new) in [(1, 5), (1, 0), (2, 0), (2000, 3), (3, usize::MAX / 4)] {
            let svg = svg(&runs(number, new)).expect("a curve");
            assert_eq!(
                svg.matches("stroke=\"#1F5FC4\"").count(),
                1,
                "{number} {new}: {svg}"
            );
            assert!(svg.contains("stroke=\"#8A93A3\""), "{number} {new}");
            let marks = if number <= MARKED { number } else { 0 };
            assert_eq!(svg.matches("<circle").count(), marks, "{number} {new}");
            assert!(!svg.contains("NaN") && !svg.contains("<b>"));
        }
        assert_eq!(svg(&[]), None);
    }
}
