//! Learning-rate schedules: [`SCHEDULES`] lists them all.
//!
//! A schedule gives, per step, the factor on the base learning rate. The names of the Hugging Face trainer
//! (`lr_scheduler_type`) and of [`fit`](crate::fit) stand side by side; letter case does not matter. One schedule goes by
//! evaluations instead of steps: [`Plateau`].

mod plateau;

use std::f64::consts::PI;

use serde_json::{Map, Value};

use crate::{Result, TrainError};

pub use plateau::Plateau;
pub(crate) use plateau::PlateauState;

/// A row of [`SCHEDULES`].
///
/// ```
/// use st_train::schedules::SCHEDULES;
/// let linear = SCHEDULES.iter().find(|kind| kind.name == "linear").unwrap();
/// assert!(linear.options.is_empty());
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ScheduleKind {
    /// Its name in the training arguments.
    pub name: &'static str,
    /// Its name in `fit`, where it has one.
    pub fit_name: Option<&'static str>,
    /// The factor in words: w warm-up steps, S steps in all, t the step, r = (t−w)/max(1, S−w).
    pub formula: &'static str,
    /// What `lr_scheduler_kwargs` may set.
    pub options: &'static [&'static str],
    /// Whether the learning rate goes by the metric of evaluations, which [`Plateau`] does, and not by steps.
    pub by_evaluation: bool,
    /// Whether the learning rate rises at first where the arguments say so.
    pub warms_up: bool,
    factor: fn(&Schedule, f64) -> f64,
}

/// A row as most are.
const USUAL: ScheduleKind = ScheduleKind {
    name: "",
    fit_name: None,
    formula: "",
    options: &[],
    by_evaluation: false,
    warms_up: true,
    factor: |_, _| 1.0,
};

/// Every schedule.
pub const SCHEDULES: &[ScheduleKind] = &[
    ScheduleKind {
        name: "linear",
        fit_name: Some("warmuplinear"),
        formula: "t<w: t/max(1,w); else max(0, (S−t)/max(1,S−w))",
        options: &[],
        factor: |schedule, step| {
            schedule.warmed(step, |_| ((schedule.total - step) / (schedule.total - schedule.warmup).max(1.0)).max(0.0))
        },
        ..USUAL
    },
    ScheduleKind {
        name: "cosine",
        fit_name: Some("warmupcosine"),
        formula: "t<w: t/max(1,w); else max(0, ½(1+cos(2π·num_cycles·r))), num_cycles=½",
        options: &["num_cycles"],
        factor: |schedule, step| schedule.warmed(step, |progress| wave(schedule.number("num_cycles", 0.5), progress)),
        ..USUAL
    },
    ScheduleKind {
        name: "cosine_with_restarts",
        fit_name: Some("warmupcosinewithhardrestarts"),
        formula: "t<w: t/max(1,w); r≥1: 0; else max(0, ½(1+cos(π·(num_cycles·r mod 1)))), num_cycles=1",
        options: &["num_cycles"],
        factor: |schedule, step| {
            schedule.warmed(step, |progress| {
                let cycle = (schedule.number("num_cycles", 1.0) * progress) % 1.0;
                if progress >= 1.0 { 0.0 } else { wave(0.5, cycle) }
            })
        },
        ..USUAL
    },
    ScheduleKind {
        name: "polynomial",
        formula: "t<w: t/max(1,w); else from 1 to lr_end/lr as (1−r)^power, lr_end=1e-7, power=1",
        options: &["lr_end", "power"],
        factor: |schedule, step| {
            schedule.warmed(step, |_| {
                let (rate, end) = (schedule.learning_rate, schedule.number("lr_end", 1e-7));
                if step > schedule.total {
                    return end / rate;
                }
                let left = 1.0 - (step - schedule.warmup) / (schedule.total - schedule.warmup);
                ((rate - end) * left.powf(schedule.number("power", 1.0)) + end) / rate
            })
        },
        ..USUAL
    },
    ScheduleKind { name: "constant", fit_name: Some("constantlr"), formula: "1", warms_up: false, ..USUAL },
    ScheduleKind {
        name: "constant_with_warmup",
        fit_name: Some("warmupconstant"),
        formula: "min(1, t/max(1,w))",
        options: &[],
        factor: |schedule, step| schedule.warmed(step, |_| 1.0),
        ..USUAL
    },
    ScheduleKind {
        name: "inverse_sqrt",
        formula: "t<w: t/max(1,w); else 1/√((t+timescale−w)/timescale), timescale=w or 10000",
        options: &["timescale"],
        factor: |schedule, step| {
            schedule.warmed(step, |_| {
                let otherwise = if schedule.warmup > 0.0 { schedule.warmup } else { 10_000.0 };
                let timescale = schedule.number("timescale", otherwise);
                1.0 / ((step + timescale - schedule.warmup) / timescale).sqrt()
            })
        },
        ..USUAL
    },
    ScheduleKind {
        name: "cosine_with_min_lr",
        formula: "cosine, squeezed into [min, 1], min = min_lr_rate or min_lr/lr",
        options: &["num_cycles", "min_lr", "min_lr_rate"],
        factor: |schedule, step| {
            schedule.warmed(step, |progress| {
                let smallest = schedule.smallest();
                let factor = 0.5 * (1.0 + (PI * schedule.number("num_cycles", 0.5) * 2.0 * progress).cos());
                (factor * (1.0 - smallest) + smallest).max(0.0)
            })
        },
        ..USUAL
    },
    ScheduleKind {
        name: "cosine_warmup_with_min_lr",
        formula: "as cosine_with_min_lr, a step ahead; the warm-up starts at warmup_lr_rate or 1/w",
        options: &["num_cycles", "min_lr", "min_lr_rate", "warmup_lr_rate"],
        factor: |schedule, step| {
            let warmup = schedule.warmup;
            if step < warmup {
                return match schedule.option("warmup_lr_rate") {
                    None => (step + 1.0) / warmup.max(1.0),
                    Some(first) => first + (1.0 - first) * step / (warmup - 1.0).max(1.0),
                };
            }
            let progress = (step - warmup + 1.0) / (schedule.total - warmup).max(1.0);
            let smallest = schedule.smallest();
            let factor = 0.5 * (1.0 + (PI * schedule.number("num_cycles", 0.5) * 2.0 * progress).cos());
            (factor * (1.0 - smallest) + smallest).max(0.0)
        },
        ..USUAL
    },
    ScheduleKind {
        name: "warmup_stable_decay",
        formula: "up over w steps, 1 for num_stable_steps, down over num_decay_steps; linear, cosine or 1-sqrt",
        options: &["num_decay_steps", "num_stable_steps", "warmup_type", "decay_type", "min_lr_ratio", "num_cycles"],
        factor: warmup_stable_decay,
        ..USUAL
    },
    ScheduleKind {
        name: "reduce_lr_on_plateau",
        formula: "1 until the metric has not become better for more than `patience` evaluations, then times `factor`",
        options: plateau::OPTIONS,
        by_evaluation: true,
        warms_up: false,
        ..USUAL
    },
];

/// Half a wave per half cycle, from 1 down.
fn wave(cycles: f64, progress: f64) -> f64 {
    (0.5 * (1.0 + (PI * cycles * 2.0 * progress).cos())).max(0.0)
}

fn warmup_stable_decay(schedule: &Schedule, step: f64) -> f64 {
    let smallest = schedule.number("min_lr_ratio", 0.0);
    let squeezed = |factor: f64| (factor * (1.0 - smallest) + smallest).max(0.0);
    let decay = schedule.number("num_decay_steps", 0.0);
    let stable = schedule.number("num_stable_steps", schedule.total - schedule.warmup - decay);
    if step < schedule.warmup {
        let progress = step / schedule.warmup.max(1.0);
        return squeezed(match schedule.text("warmup_type", "linear") {
            "cosine" => 0.5 * (1.0 - (PI * progress).cos()),
            "1-sqrt" => 1.0 - (1.0 - progress).sqrt(),
            _ => progress,
        });
    }
    if step < schedule.warmup + stable {
        return 1.0;
    }
    if step < schedule.warmup + stable + decay {
        let progress = (step - schedule.warmup - stable) / decay.max(1.0);
        return squeezed(match schedule.text("decay_type", "cosine") {
            "linear" => 1.0 - progress,
            "1-sqrt" => 1.0 - progress.sqrt(),
            _ => 0.5 * (1.0 + (PI * schedule.number("num_cycles", 0.5) * 2.0 * progress).cos()),
        });
    }
    smallest
}

/// A schedule with its numbers of steps.
///
/// ```
/// use st_train::schedules::Schedule;
///
/// let schedule = Schedule::new("WarmupLinear", 10, 100)?;
/// assert_eq!([0, 5, 10, 55, 100, 200].map(|step| schedule.factor(step)), [0.0, 0.5, 1.0, 0.5, 0.0, 0.0]);
/// let error = Schedule::new("Exponential", 10, 100).unwrap_err();
/// assert_eq!(error.to_string(), "Unknown scheduler exponential");
/// # Ok::<(), st_train::TrainError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Schedule {
    kind: &'static ScheduleKind,
    warmup: f64,
    total: f64,
    learning_rate: f64,
    options: Map<String, Value>,
}

impl Schedule {
    /// The schedule of a name, with the number of warm-up steps and of all steps.
    ///
    /// # Errors
    /// `Unknown scheduler x` for a name that is not in [`SCHEDULES`].
    pub fn new(name: &str, warmup_steps: usize, total_steps: usize) -> Result<Self> {
        let name = name.to_lowercase();
        let kind = SCHEDULES
            .iter()
            .find(|kind| kind.name == name || kind.fit_name == Some(&name))
            .ok_or_else(|| TrainError::invalid(format!("Unknown scheduler {name}")))?;
        #[expect(clippy::cast_precision_loss, reason = "numbers of steps")]
        let (warmup, total) = (warmup_steps as f64, total_steps as f64);
        Ok(Self { kind, warmup, total, learning_rate: 1.0, options: Map::new() })
    }

    /// Sets what the schedule leaves open, by the names in [`ScheduleKind::options`]; `learning_rate` is what `lr_end` and
    /// `min_lr` relate to.
    ///
    /// # Errors
    /// For options that the schedule does not have or lacks, and values out of range.
    pub fn with_options(mut self, options: Map<String, Value>, learning_rate: f64) -> Result<Self> {
        let refuse = |message: String| Err(TrainError::option("lr_scheduler_kwargs", message));
        if self.kind.by_evaluation {
            Plateau::new(&options)?;
            return Ok(Self { options, learning_rate, ..self });
        }
        for (name, value) in &options {
            if !self.kind.options.contains(&name.as_str()) {
                let known = self.kind.options.join("`, `");
                let known = if known.is_empty() { "none".to_owned() } else { format!("`{known}`") };
                return refuse(format!("has `{name}`, but the schedule '{}' has {known}", self.kind.name));
            }
            let valid = match name.as_str() {
                "warmup_type" | "decay_type" => {
                    matches!(value.as_str(), Some("linear" | "cosine" | "1-sqrt"))
                }
                _ => value.as_f64().is_some_and(f64::is_finite),
            };
            if !valid {
                let wanted = if name.ends_with("type") { "'linear', 'cosine' or '1-sqrt'" } else { "a number" };
                return refuse(format!("has {name} = {value}, which should be {wanted}"));
            }
        }
        (self.options, self.learning_rate) = (options, learning_rate);
        match self.kind.name {
            "polynomial" if self.number("lr_end", 1e-7) >= learning_rate => {
                let end = self.number("lr_end", 1e-7);
                Err(TrainError::invalid(format!("lr_end ({end}) must be smaller than initial lr ({learning_rate})")))
            }
            "cosine_with_min_lr" | "cosine_warmup_with_min_lr" => {
                match (self.option("min_lr"), self.option("min_lr_rate")) {
                    (Some(_), Some(_)) => Err(TrainError::invalid("Only one of min_lr or min_lr_rate should be set")),
                    (None, None) => Err(TrainError::invalid(
                        "One of min_lr or min_lr_rate should be set through the `lr_scheduler_kwargs`",
                    )),
                    _ => Ok(self),
                }
            }
            "warmup_stable_decay" if self.option("num_decay_steps").is_none() => {
                refuse("lacks `num_decay_steps`, which the schedule 'warmup_stable_decay' needs".to_owned())
            }
            _ => Ok(self),
        }
    }

    /// The row of the table.
    #[must_use]
    pub fn kind(&self) -> &'static ScheduleKind {
        self.kind
    }

    /// The schedule where nobody evaluates on its behalf.
    pub(crate) fn by_step(self) -> Result<Self> {
        if self.kind.by_evaluation {
            return Err(TrainError::unsupported(
                format!("the schedule '{}' goes by evaluations, which `fit` does not hand to it", self.kind.name),
                "train with a Trainer and an eval_strategy, or take another schedule",
            ));
        }
        Ok(self)
    }

    /// What lowers the learning rate after evaluations; `None` for schedules that go by steps.
    ///
    /// # Errors
    /// As [`Plateau::new`].
    pub fn plateau(&self) -> Result<Option<Plateau>> {
        self.kind.by_evaluation.then(|| Plateau::new(&self.options)).transpose()
    }

    /// The factor on the base learning rate at a step, counted from 0.
    #[must_use]
    pub fn factor(&self, step: usize) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a number of steps")]
        let step = step as f64;
        (self.kind.factor)(self, step)
    }

    /// The linear rise, then what follows; given how far it is (r).
    fn warmed(&self, step: f64, after: impl FnOnce(f64) -> f64) -> f64 {
        if step < self.warmup {
            step / self.warmup.max(1.0)
        } else {
            after((step - self.warmup) / (self.total - self.warmup).max(1.0))
        }
    }

    fn option(&self, name: &str) -> Option<f64> {
        self.options.get(name).and_then(Value::as_f64)
    }

    fn number(&self, name: &str, default: f64) -> f64 {
        self.option(name).unwrap_or(default)
    }

    fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.options.get(name).and_then(Value::as_str).unwrap_or(default)
    }

    fn smallest(&self) -> f64 {
        self.option("min_lr_rate").unwrap_or_else(|| self.number("min_lr", 0.0) / self.learning_rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn factors_are_those_of_the_original() {
        let golden: Value = serde_json::from_str(include_str!("../../fixtures/schedules.json")).unwrap();
        let steps = golden["steps"].as_u64().unwrap() as usize;
        let cases = golden["cases"].as_array().unwrap();
        assert!(cases.len() > 60);
        for case in cases {
            let name = case["name"].as_str().unwrap();
            let schedule = Schedule::new(name, case["warmup"].as_u64().unwrap() as usize, steps).unwrap();
            let options = case["options"].as_object().cloned().unwrap_or_default();
            let schedule = schedule.with_options(options, 1.0).unwrap();
            for (step, wanted) in case["factors"].as_array().unwrap().iter().enumerate() {
                let (found, wanted) = (schedule.factor(step), wanted.as_f64().unwrap());
                assert!((found - wanted).abs() < 1e-11, "{case}: step {step} gives {found}, not {wanted}");
            }
        }
    }

    #[test]
    fn every_schedule_has_a_golden() {
        let golden: Value = serde_json::from_str(include_str!("../../fixtures/schedules.json")).unwrap();
        let named: Vec<String> =
            golden["cases"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap().to_lowercase()).collect();
        for kind in SCHEDULES.iter().filter(|kind| !kind.by_evaluation) {
            assert!(named.iter().any(|name| name == kind.name), "{}", kind.name);
            assert!(kind.fit_name.is_none_or(|fit| named.iter().any(|name| name == fit)), "{}", kind.name);
        }
    }

    #[test]
    fn the_trainers_names_are_all_there() {
        let golden: Value = serde_json::from_str(include_str!("../../fixtures/schedules.json")).unwrap();
        let names = golden["names"].as_array().unwrap();
        assert!(names.len() >= 11);
        for name in names {
            let kind = Schedule::new(name.as_str().unwrap(), 0, 10).unwrap().kind();
            assert_eq!(kind.by_evaluation, name == "reduce_lr_on_plateau");
        }
    }

    #[test]
    fn wrong_options_are_refused() {
        let options = |json: &str| serde_json::from_str::<Map<String, Value>>(json).unwrap();
        let error = |name: &str, json: &str| {
            Schedule::new(name, 1, 9).unwrap().with_options(options(json), 0.5).unwrap_err().to_string()
        };
        assert!(error("linear", r#"{"power": 2}"#).ends_with("has `power`, but the schedule 'linear' has none"));
        assert!(error("cosine", r#"{"num_cycles": "many"}"#).contains("should be a number"));
        assert_eq!(error("polynomial", r#"{"lr_end": 0.5}"#), "lr_end (0.5) must be smaller than initial lr (0.5)");
        assert!(error("cosine_with_min_lr", "{}").starts_with("One of min_lr or min_lr_rate should be set"));
        assert!(error("warmup_stable_decay", "{}").contains("lacks `num_decay_steps`"));
        assert!(error("warmup_stable_decay", r#"{"num_decay_steps": 3, "decay_type": "up"}"#).contains("'1-sqrt'"));
    }
}
