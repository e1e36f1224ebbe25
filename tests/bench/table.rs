//! What a row of the table is, and how it is shown: for a person, or as JSON.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::{Value as Json, json};

/// The unit of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Requests,
    Syncs,
    Reads,
    Lines,
    Seconds,
    /// Millionths of a second.
    Micros,
    /// Millions of bytes of memory.
    Megabytes,
    /// How many times as fast, or as much.
    Times,
}

impl Unit {
    /// A value with its unit; `alone`: the row's words say the unit.
    fn shown(self, value: f64, alone: bool) -> String {
        match self {
            Self::Requests if alone => thousands(value),
            Self::Requests => format!("{} requests", thousands(value)),
            Self::Lines => format!("{} lines", thousands(value)),
            Self::Reads => format!("{} reads", thousands(value)),
            Self::Syncs => format!("{value:.2}"),
            Self::Seconds if value < 0.1 => format!("{:.1} ms", value * 1e3),
            Self::Seconds => format!("{value:.2} s"),
            Self::Micros => format!("{value:.1} µs"),
            Self::Megabytes => format!("{value:.0} MB"),
            Self::Times => format!("{value:.2}x"),
        }
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    AtMost(f64),
    AtLeast(f64),
    /// It is measured for another figure's sake.
    None,
}

impl Goal {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
            Self::None => true,
        }
    }
}

/// One figure.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    /// Which of the row's figures.
    pub(crate) name: String,
    pub(crate) value: f64,
    pub(crate) unit: Unit,
    pub(crate) goal: Goal,
}

pub(crate) fn at_most(name: &str, value: f64, unit: Unit, most: f64) -> Figure {
    Figure { name: name.to_owned(), value, unit, goal: Goal::AtMost(most) }
}

pub(crate) fn at_least(name: &str, value: f64, unit: Unit, least: f64) -> Figure {
    Figure { name: name.to_owned(), value, unit, goal: Goal::AtLeast(least) }
}

pub(crate) fn no_goal(name: &str, value: f64, unit: Unit) -> Figure {
    Figure { name: name.to_owned(), value, unit, goal: Goal::None }
}

/// What became of a row.
#[derive(Debug, Clone)]
pub(crate) enum Measured {
    Figures(Vec<Figure>, String),
    /// It cannot be measured here, and why.
    Skipped(String),
}

impl Measured {
    pub(crate) fn all_hold(&self) -> bool {
        match self {
            Self::Figures(figures, _) => figures.iter().all(|it| it.goal.holds(it.value)),
            Self::Skipped(_) => true,
        }
    }

    /// Two lines for a person.
    pub(crate) fn in_words(&self, id: &str, what: &str) -> String {
        let (figures, note) = match self {
            Self::Skipped(why) => return format!("{id:<22} skipped: {why}\n{:<23}{what}", ""),
            Self::Figures(figures, note) => (figures, note),
        };
        let counts = figures.iter().all(|it| matches!(it.unit, Unit::Requests));
        let joined = |texts: Vec<String>| texts.join(if counts { "/" } else { ", " });
        let goals = joined(figures.iter().map(|it| goal_in_words(it, counts)).collect());
        let goals = if counts { format!("at most {goals}") } else { goals };
        let measured = joined(figures.iter().map(|it| it.unit.shown(it.value, counts)).collect());
        let verdict = if self.all_hold() { "holds" } else { "MISSED" };
        let note = if note.is_empty() { String::new() } else { format!("; {note}") };
        format!("{id:<22} goal {goals:<34} measured {measured:<32} {verdict}\n{:<23}{what}{note}", "")
    }

    pub(crate) fn in_json(&self, id: &str, what: &str) -> Json {
        match self {
            Self::Skipped(why) => json!({ "id": id, "what": what, "skipped": why }),
            Self::Figures(figures, note) => {
                let figures: Vec<Json> = figures
                    .iter()
                    .map(|it| {
                        json!({
                            "name": it.name, "value": it.value, "unit": it.unit, "goal": it.goal,
                            "holds": it.goal.holds(it.value),
                        })
                    })
                    .collect();
                json!({ "id": id, "what": what, "figures": figures, "note": note, "holds": self.all_hold() })
            }
        }
    }
}

fn goal_in_words(figure: &Figure, counts: bool) -> String {
    match figure.goal {
        Goal::AtMost(most) if counts => figure.unit.shown(most, true),
        Goal::AtMost(most) => format!("<= {}", figure.unit.shown(most, false)),
        Goal::AtLeast(least) => format!(">= {}", figure.unit.shown(least, false)),
        Goal::None => "none".to_owned(),
    }
}

/// What the numbers that are no counts depend on.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    cpu: String,
    memory_mb: u64,
    kernel: String,
    /// Where the ledgers are.
    folder: PathBuf,
    file_system: String,
}

impl Machine {
    pub(crate) fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let after = |text: &str, key: &str| {
            let line = text.lines().find(|line| line.starts_with(key)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = after(&read("/proc/meminfo"), "MemTotal");
        let folder = std::env::temp_dir();
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu: after(&read("/proc/cpuinfo"), "model name"),
            memory_mb: memory.split(' ').next().and_then(|kb| kb.parse::<u64>().ok()).unwrap_or_default() / 1024,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: file_system(&read("/proc/self/mounts"), &folder),
            folder,
        }
    }

    pub(crate) fn in_words(&self) -> String {
        let Self { cores, cpu, memory_mb, kernel, folder, file_system } = self;
        format!(
            "{cores} cores of {cpu}, {memory_mb} MB, Linux {kernel}; ledgers in {} ({file_system}; TMPDIR says where)",
            folder.display()
        )
    }
}

/// The type of the file system that a folder is on: of the longest mount point above it.
fn file_system(mounts: &str, folder: &Path) -> String {
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, point, kind) = (words.next()?, words.next()?, words.next()?);
        folder.starts_with(point).then(|| (point.len(), format!("{kind} on {device}")))
    });
    mounts.max_by_key(|(length, _)| *length).map(|(_, words)| words).unwrap_or_default()
}
