//! A plot of the speeds, readable on a light and on a dark page.

use super::results::{ModelResults, Results, WorkloadResults, quantile};
use std::fmt::Write;

const NAMES: usize = 110;
const PANEL: usize = 205;
const BAR: usize = 17;
const TOP: usize = 52;
/// Room that the figure beside a bar takes.
const FIGURE: usize = 58;

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#24292f}\
.title{font-weight:600}\
.small{font-size:11px;fill:#57606a}\
.other{fill:#8c959f}.ours{fill:#d9480f}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.small{fill:#9198a1}.other{fill:#656c76}.ours{fill:#ff8a4c}}";

/// Speed as a multiple of the original's: a row of panels per model, a panel per workload.
pub(crate) fn draw(results: &Results) -> String {
    let panels = results.models.iter().map(|model| model.workloads.len()).max().unwrap_or(0);
    let width = NAMES + panels * PANEL;
    let mut body = String::new();
    let mut y = 0;
    for model in &results.models {
        y += row(&mut body, model, y);
    }
    let height = y + 26;
    let machine = &results.machine;
    let note = format!(
        "Speed as a multiple of the original (PyTorch f32). {}, {} threads, {}",
        machine.processor, machine.threads, results.date
    );
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
         role=\"img\">\n<title>{note}</title>\n<style>{STYLE}</style>\n{body}\
         <text class=\"small\" x=\"4\" y=\"{}\">{note}</text>\n</svg>\n",
        height - 8,
        note = escaped(&note),
    )
}

/// Draws one model and gives the height that it takes.
fn row(body: &mut String, model: &ModelResults, y: usize) -> usize {
    let mut names: Vec<&str> = Vec::new();
    for workload in &model.workloads {
        names.extend(
            workload
                .contestants
                .iter()
                .map(|timed| timed.name)
                .filter(|name| !names.contains(name))
                .collect::<Vec<_>>(),
        );
    }
    let _ = writeln!(body, "<text class=\"title\" x=\"4\" y=\"{}\">{}</text>", y + 20, escaped(model.name));
    for (place, name) in names.iter().enumerate() {
        let _ = writeln!(
            body,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>",
            NAMES - 8,
            y + TOP + place * BAR + 12,
            escaped(name)
        );
    }
    for (column, workload) in model.workloads.iter().enumerate() {
        panel(body, workload, &names, NAMES + column * PANEL, y);
    }
    TOP + names.len() * BAR + 10
}

fn panel(body: &mut String, workload: &WorkloadResults, names: &[&str], x: usize, y: usize) {
    let _ = writeln!(body, "<text class=\"small\" x=\"{x}\" y=\"{}\">{}</text>", y + TOP - 8, escaped(workload.name));
    let Some(torch) = workload.find("torch") else { return };
    let ratio = |name: &str| workload.find(name).map(|timed| quantile(&timed.ratios(torch), 0.5));
    let longest = names.iter().filter_map(|name| ratio(name)).fold(1.0, f64::max);
    for (place, name) in names.iter().enumerate() {
        let Some(ratio) = ratio(name) else { continue };
        let length = (ratio / longest * (PANEL - FIGURE) as f64).max(1.0);
        let class = if name.starts_with("ours") { "ours" } else { "other" };
        let top = y + TOP + place * BAR;
        let _ = writeln!(
            body,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" rx=\"2\"/>\
             <text class=\"small\" x=\"{:.1}\" y=\"{}\">{ratio:.2}×</text>",
            top + 2,
            BAR - 4,
            x as f64 + length + 4.0,
            top + 12
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::contestants::Multiplies;
    use super::super::results::{Machine, Timed};
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn the_fastest_fills_its_panel() {
        let timed = |name, seconds| Timed {
            name,
            multiplies: Multiplies::F32,
            batch_size: None,
            seconds: vec![seconds],
            calls: Vec::new(),
            memory: None,
        };
        let workload = WorkloadResults {
            name: "short",
            texts: 1,
            tokens: 1,
            operations: 0.0,
            limits: BTreeMap::new(),
            contestants: vec![timed("torch", 4.0), timed("ours", 1.0)],
        };
        let model = ModelResults {
            name: "m<1>",
            workloads: vec![workload],
            starts: BTreeMap::new(),
            agreement: BTreeMap::new(),
        };
        let machine = Machine {
            processor: "P&Q".to_owned(),
            cores: 2,
            memory_gib: 1.0,
            kernel: String::new(),
            commit: String::new(),
            threads: 2,
            pinned_to: String::new(),
        };
        let svg = draw(&Results { date: String::new(), machine, models: vec![model] });
        assert!(svg.contains(&format!("width=\"{}.0\"", PANEL - FIGURE)) && svg.contains("4.00×"), "{svg}");
        assert!(svg.contains("m&lt;1&gt;") && svg.contains("P&amp;Q"), "{svg}");
    }
}
