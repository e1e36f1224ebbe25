//! The layers, merged by the `config` crate: built-in defaults, the file, the environment.
//!
//! Each value carries its origin (`FILE line 12`, `environment variable MAKEGOOD_...`), so that a later problem can name the
//! place. The parsing is here because `config`'s own TOML reader knows no lines, quotes the source in its errors, and stops at
//! the first one. Nothing here prints a value: `Debug` of a layer is its name.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read},
    path::Path,
};

use config::{Environment, Map, Source, Value, ValueKind};
use toml::de::{DeTable, DeValue, Error as TomlError};

use super::{
    environment::{self, PLACE, Variable},
    error::{Complaint, ConfigError, Problem},
    read::{Reader, Section},
    unit,
};
use crate::domain::Unit;

/// A larger file is no configuration.
const LARGEST_FILE: u64 = 1024 * 1024;

/// More syntax errors than these help nobody.
const MOST_SYNTAX_ERRORS: usize = 10;

/// Reads the file as text.
pub(super) fn read_file(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |reason: &str, remedy, source| ConfigError::Unreadable {
        path: path.to_owned(),
        reason: reason.to_owned(),
        remedy,
        source,
    };
    let io_error = |error: io::Error| {
        if error.kind() == io::ErrorKind::NotFound {
            return ConfigError::Missing(path.to_owned());
        }
        let remedy = "let this user read it, or name another with --config FILE or MAKEGOOD_CONFIG";
        unreadable(&error.kind().to_string(), remedy, Some(error))
    };
    let mut bytes = Vec::new();
    File::open(path).and_then(|file| file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)).map_err(io_error)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(unreadable("it is larger than 1 MiB", "name a configuration file", None));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = String::from_utf8_lossy(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        let reason = format!("line {} is not UTF-8", 1 + before.matches('\n').count());
        unreadable(&reason, "save it as UTF-8", None)
    })
}

/// Merges the layers. The reader gets the problems with names.
pub(super) fn merge(path: &Path, text: &str, env: &[(String, String)]) -> Result<(Reader, Section), ConfigError> {
    let (variables, mut problems) = environment::configuration(env);
    let place = path.display().to_string();
    let lines = Lines::new(&place, text);
    let (table, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        problems.extend(errors.iter().take(MOST_SYNTAX_ERRORS).map(|error| lines.syntax_problem(error)));
        return Err(ConfigError::Invalid(problems));
    }

    let (file, mut odd_names) = lines.layer(table.get_ref());
    problems.append(&mut odd_names);
    let sources: Vec<Box<dyn Source + Send + Sync>> = vec![
        Box::new(Layer { name: "defaults", values: defaults(&unit::ledger(path, env)) }),
        Box::new(file),
        Box::new(EnvLayer(variables)),
    ];
    // No layer can fail to be collected.
    let values = sources.collect().unwrap_or_default();
    Ok((Reader::new(&place, problems), Section::root(values)))
}

/// The values of keys that nobody sets. Defaults of targets depend on their type: see `targets`. `policy.max_amount` is
/// replaced as a whole: see `policy`.
fn defaults(ledger: &Path) -> Map<String, Value> {
    let text = |text: &str| ValueKind::String(text.to_owned());
    let units = Unit::NON_MONETARY.iter().map(|unit| Value::new(None, unit.as_str())).collect();
    [
        ("firstpromoter.base_url", text("https://api.firstpromoter.com/api/v2/company")),
        ("firstpromoter.requests_per_minute", ValueKind::I64(300)),
        ("firstpromoter.timeout", text("30s")),
        ("schedule.poll", text("0 */5 * * * *")),
        ("schedule.on_start", ValueKind::Boolean(true)),
        ("ledger.path", ValueKind::String(ledger.display().to_string())),
        ("ledger.keep_empty_passes", text("400d")),
        ("policy.grace", text("15m")),
        ("policy.units", ValueKind::Array(units)),
        ("policy.campaigns", ValueKind::Array(Vec::new())),
        ("policy.deliver_from", text("1970-01-01T00:00:00Z")),
        ("policy.recipient", text("auto")),
        ("policy.hold_fraud_suspicion", ValueKind::Boolean(true)),
        ("policy.hold_self_referral", ValueKind::Boolean(true)),
        ("policy.max_deliveries_per_pass", ValueKind::I64(100)),
        ("policy.retry.first", text("1m")),
        ("policy.retry.factor", ValueKind::I64(4)),
        ("policy.retry.max", text("6h")),
        ("policy.retry.give_up_after", text("7d")),
        ("heartbeat.timeout", text("10s")),
        ("alert.timeout", text("10s")),
        ("alert.failing_for", text("1h")),
        ("alert.caught_share", ValueKind::Float(0.5)),
        ("alert.caught_min", ValueKind::I64(5)),
        ("alert.caught_within", text("24h")),
        ("log.format", text("auto")),
        ("log.level", text("info")),
    ]
    .into_iter()
    .map(|(key, kind)| (key.to_owned(), Value::new(None, kind)))
    .collect()
}

/// The keys that have a default, except those of targets and `policy.max_amount`.
#[cfg(test)]
pub(super) fn default_keys() -> Vec<String> {
    defaults(Path::new("")).into_keys().collect()
}

#[derive(Clone)]
struct Layer {
    name: &'static str,
    values: Map<String, Value>,
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self.values.clone())
    }
}

/// `config`'s environment source, with the variable's own name as the origin. No `try_parsing`: `00123456` stays as it is.
#[derive(Clone)]
struct EnvLayer(BTreeMap<String, Variable>);

impl fmt::Debug for EnvLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("environment")
    }
}

impl Source for EnvLayer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        let variables = self.0.values().map(|variable| (variable.name.clone(), variable.value.clone())).collect();
        let environment = Environment::with_prefix("MAKEGOOD").prefix_separator("_").separator("__");
        let values = environment.source(Some(variables)).collect()?;
        Ok(values
            .into_iter()
            .map(|(key, value)| {
                let origin = self.0.get(&key).map(|variable| format!("{PLACE}{}", variable.name));
                (key, Value::new(origin.as_ref(), value.kind))
            })
            .collect())
    }
}

/// The offsets at which the lines of a file begin.
struct Lines<'t> {
    place: &'t str,
    text: &'t str,
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(place: &'t str, text: &'t str) -> Self {
        let newlines = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { place, text, starts: std::iter::once(0).chain(newlines).collect() }
    }

    fn place_of(&self, offset: usize) -> String {
        format!("{} line {}", self.place, self.starts.partition_point(|start| *start <= offset))
    }

    /// The parser's messages are fixed texts and quote nothing of the source; only its `Display` does.
    fn syntax_problem(&self, error: &TomlError) -> Problem {
        // An error at the very end points behind the last line break.
        let end = self.text.trim_end().len().saturating_sub(1);
        let place = error.span().map_or_else(|| self.place.to_owned(), |span| self.place_of(span.start.min(end)));
        let complaint = Complaint::new(
            format!("this is not TOML ({})", error.message()),
            "write `key = value`, texts and durations in quotes, one a line",
        );
        Problem { place, key: String::new(), complaint }
    }

    /// The whole file as a layer. `config` reads top-level names as path expressions (`a[9]` is an index), so only plain names
    /// reach it. The others are unknown anyway.
    fn layer(&self, table: &DeTable<'_>) -> (Layer, Vec<Problem>) {
        let (mut values, mut problems) = (Map::new(), Vec::new());
        for (key, value) in table {
            let name = key.get_ref().as_ref();
            if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)) {
                values.insert(name.to_owned(), self.value(value.span().start, value.get_ref()));
            } else {
                let complaint = Complaint::new("there is a key here that cannot be one", "take it out");
                problems.push(Problem { place: self.place_of(key.span().start), key: String::new(), complaint });
            }
        }
        (Layer { name: "file", values }, problems)
    }

    fn value(&self, offset: usize, value: &DeValue<'_>) -> Value {
        let kind = match value {
            DeValue::String(text) => ValueKind::String(text.clone().into_owned()),
            // Where the number does not fit, any number will do that no key allows.
            DeValue::Integer(digits) => {
                i64::from_str_radix(digits.as_str(), digits.radix()).map_or(ValueKind::I128(i128::MAX), ValueKind::I64)
            }
            DeValue::Float(digits) => ValueKind::Float(digits.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(flag) => ValueKind::Boolean(*flag),
            DeValue::Datetime(at) => ValueKind::String(at.to_string()),
            DeValue::Array(items) => {
                ValueKind::Array(items.iter().map(|item| self.value(item.span().start, item.get_ref())).collect())
            }
            DeValue::Table(table) => ValueKind::Table(
                table
                    .iter()
                    .map(|(key, value)| {
                        (key.get_ref().clone().into_owned(), self.value(value.span().start, value.get_ref()))
                    })
                    .collect(),
            ),
        };
        Value::new(Some(&self.place_of(offset)), kind)
    }
}
