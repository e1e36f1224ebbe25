//! Typed values out of the merged layers, and the complaints about values of the wrong type.
//!
//! Guarantees: every complaint is kept, and none shows a value. A key is unknown if nothing asks for it, so no separate list of
//! keys can differ from the code.
#![allow(clippy::wildcard_enum_match_arm, reason = "config's kinds of values are not ours: any other is a wrong type")]

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
    time::Duration,
};

use config::{Map, Value, ValueKind};

use super::{
    duration,
    environment::{self, PLACE, PREFIX},
    error::{Complaint, ConfigError, Problem},
    origin::{ValueOrText, all_places, path_of, place_of, position},
    suggest,
};

/// Collects problems, warnings, and the keys that were asked for.
pub(super) struct Reader {
    file: String,
    problems: Vec<Problem>,
    warnings: Vec<String>,
    asked: BTreeSet<String>,
    unknown: Vec<Unknown>,
}

/// A key that nothing asked for.
struct Unknown {
    place: String,
    section: String,
    key: String,
    siblings: Vec<&'static str>,
}

impl Reader {
    pub(super) fn new(file: &str, problems: Vec<Problem>) -> Self {
        Self { file: file.to_owned(), problems, warnings: Vec::new(), asked: BTreeSet::new(), unknown: Vec::new() }
    }

    pub(super) fn add(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// Reports a missing key; its place is the file.
    pub(super) fn missing(&mut self, key: &str, complaint: Complaint) {
        let (place, key) = (self.file.clone(), key.to_owned());
        self.problems.push(Problem { place, key, complaint });
    }

    pub(super) fn warn(&mut self, what: impl Into<String>) {
        self.warnings.push(what.into());
    }

    /// Warns about variables that do nothing but look as if they should.
    pub(super) fn warn_about_near_misses(&mut self, env: &[(String, String)]) {
        for (name, _) in env {
            let Some(rest) = name.strip_prefix(PREFIX).filter(|rest| !rest.contains("__")) else { continue };
            let flat = environment::flattened(rest);
            let meant = self
                .asked
                .iter()
                .find(|key| key.contains('.') && !key.contains('[') && environment::flattened(key) == flat);
            if let Some(key) = meant {
                let variable = environment::variable(key);
                self.warnings.push(format!("environment variable {name} does nothing: did you mean {variable}?"));
            }
        }
    }

    /// Every key that was asked for, including tables.
    #[cfg(test)]
    pub(super) fn asked(&self) -> &BTreeSet<String> {
        &self.asked
    }

    /// The result and the warnings, if there is no problem.
    pub(super) fn finish<S, T>(mut self, parts: Option<(S, T)>) -> Result<(S, T, Vec<String>), ConfigError> {
        for unknown in std::mem::take(&mut self.unknown) {
            let problem = self.unknown_problem(&unknown);
            self.problems.push(problem);
        }
        self.problems.sort_by_cached_key(|problem| position(&problem.place));
        match parts {
            Some((settings, secrets)) if self.problems.is_empty() => Ok((settings, secrets, self.warnings)),
            _ => Err(ConfigError::Invalid(self.problems)),
        }
    }

    /// Suggests the same key with its dots elsewhere, else the nearest one beside it, else the same name in another section.
    fn unknown_problem(&self, unknown: &Unknown) -> Problem {
        let key = path_of(&unknown.section, &unknown.key);
        let variable = unknown.place.strip_prefix(PLACE);
        let flat = environment::flattened(variable.map_or(&*key, |name| name.trim_start_matches(PREFIX)));
        let respelt = self.asked.iter().find(|asked| environment::flattened(asked) == flat).cloned();
        let beside = || {
            suggest::nearest(&unknown.key, unknown.siblings.iter().copied())
                .map(|sibling| path_of(&unknown.section, sibling))
        };
        let elsewhere = || self.asked.iter().find(|asked| asked.rsplit('.').next() == Some(&unknown.key)).cloned();
        let remedy = match respelt.or_else(beside).or_else(elsewhere) {
            Some(meant) if variable.is_some() => format!("did you mean {}?", environment::variable(&meant)),
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("take it out; valid here: {}", suggest::listed(unknown.siblings.iter().copied())),
        };
        Problem { place: unknown.place.clone(), key, complaint: Complaint::UnknownKey { remedy } }
    }
}

/// A table, and which of its keys were asked for.
pub(super) struct Section {
    path: String,
    entries: BTreeMap<String, Value>,
    asked: Vec<&'static str>,
}

impl Section {
    pub(super) fn root(values: Map<String, Value>) -> Self {
        Self::new(String::new(), values)
    }

    fn new(path: String, values: Map<String, Value>) -> Self {
        Self { path, entries: values.into_iter().collect(), asked: Vec::new() }
    }

    /// A table below this one that nobody wrote.
    pub(super) fn empty(&self, key: &str) -> Self {
        Self::new(self.path_of(key), Map::new())
    }

    /// The full path of a key here.
    pub(super) fn path_of(&self, key: &str) -> String {
        path_of(&self.path, key)
    }

    /// The value of a key, if it has one.
    pub(super) fn take(&mut self, reader: &mut Reader, key: &'static str) -> Option<Entry> {
        self.asked.push(key);
        reader.asked.insert(self.path_of(key));
        self.entries.remove(key).map(|value| Entry::new(reader, self.path_of(key), value))
    }

    /// The value of a key that must have one.
    pub(super) fn require(&mut self, reader: &mut Reader, key: &'static str, remedy: &str) -> Option<Entry> {
        let entry = self.take(reader, key);
        if entry.is_none() {
            let path = self.path_of(key);
            let variable = environment::variable(&path);
            reader.missing(&path, Complaint::new("this is missing", format!("{remedy}, or set {variable}")));
        }
        entry
    }

    /// Refuses a key that is valid elsewhere only.
    pub(super) fn refuse(&mut self, reader: &mut Reader, key: &str, complaint: Complaint) {
        if let Some(value) = self.entries.remove(key) {
            Entry::new(reader, self.path_of(key), value).complain(reader, complaint);
        }
    }

    /// All remaining values, by name: for tables whose keys the user chooses.
    pub(super) fn drain(&mut self, reader: &Reader) -> Vec<(String, Entry)> {
        let entries = std::mem::take(&mut self.entries);
        entries
            .into_iter()
            .map(|(name, value)| {
                let path = self.path_of(&name);
                (name, Entry::new(reader, path, value))
            })
            .collect()
    }

    /// Reports the keys that nothing asked for as unknown.
    pub(super) fn finish(self, reader: &mut Reader) {
        for (key, value) in self.entries {
            let mut places = Vec::new();
            all_places(&value, &mut places);
            // One complaint for each variable, but only one for a whole table of the file.
            let (variables, lines): (Vec<_>, Vec<_>) = places.into_iter().partition(|place| place.starts_with(PLACE));
            let line = lines.into_iter().next().or_else(|| variables.is_empty().then(|| reader.file.clone()));
            for place in variables.into_iter().chain(line) {
                let (section, siblings) = (self.path.clone(), self.asked.clone());
                reader.unknown.push(Unknown { place, section, key: key.clone(), siblings });
            }
        }
    }
}

/// Reads one section completely, even where nobody wrote it. Keys that `read` leaves over are unknown.
pub(super) fn section<T>(
    reader: &mut Reader,
    parent: &mut Section,
    name: &'static str,
    read: impl FnOnce(&mut Reader, &mut Section) -> Option<T>,
) -> Option<T> {
    let mut section = match parent.take(reader, name) {
        Some(entry) => entry.table(reader)?,
        None => parent.empty(name),
    };
    let parts = read(reader, &mut section);
    section.finish(reader);
    parts
}

/// One value, and where it comes from.
pub(super) struct Entry {
    key: String,
    place: String,
    kind: ValueKind,
}

impl Entry {
    fn new(reader: &Reader, key: String, value: Value) -> Self {
        let place = place_of(&value).unwrap_or_else(|| reader.file.clone());
        Self { key, place, kind: value.kind }
    }

    pub(super) fn place(&self) -> &str {
        &self.place
    }

    pub(super) fn is_from_environment(&self) -> bool {
        self.place.starts_with(PLACE)
    }

    /// A problem with this value, to be made before the entry is used up.
    pub(super) fn problem(&self, what: &str, remedy: &str) -> Problem {
        self.with(Complaint::new(what, remedy))
    }

    fn with(&self, complaint: Complaint) -> Problem {
        Problem { place: self.place.clone(), key: self.key.clone(), complaint }
    }

    pub(super) fn complain(&self, reader: &mut Reader, complaint: Complaint) {
        reader.add(self.with(complaint));
    }

    fn wrong_type<T>(&self, reader: &mut Reader, expected: &str) -> Option<T> {
        let found = match &self.kind {
            ValueKind::Nil => "nothing",
            ValueKind::Boolean(_) => "true or false",
            ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::U64(_) | ValueKind::U128(_) => "a number",
            ValueKind::Float(_) => "a number with a fraction",
            ValueKind::String(_) => "text",
            ValueKind::Table(_) => "a table",
            ValueKind::Array(_) => "a list",
        };
        let what = format!("this must be {expected}, and is {found}");
        self.complain(reader, Complaint::new(what, "correct it"));
        None
    }

    /// Returns the value that `check` accepts, or adds the complaint of `check`.
    pub(super) fn checked<T>(self, reader: &mut Reader, check: impl FnOnce(&str) -> Result<T, Complaint>) -> Option<T> {
        let ValueKind::String(text) = &self.kind else { return self.wrong_type(reader, "text in quotes") };
        check(text).map_err(|complaint| self.complain(reader, complaint)).ok()
    }

    pub(super) fn text(self, reader: &mut Reader) -> Option<String> {
        self.checked(reader, |text| Ok(text.to_owned()))
    }

    /// Accepts text, or a whole number as its decimal text.
    pub(super) fn text_or_number(mut self) -> Self {
        if let ValueKind::I64(number) = self.kind {
            self.kind = ValueKind::String(number.to_string());
        }
        self
    }

    /// One of some words. The complaint names the nearest one.
    pub(super) fn word<T: Clone>(self, reader: &mut Reader, words: &[(&str, T)]) -> Option<T> {
        let names = || words.iter().map(|(name, _)| *name);
        self.checked(reader, |text| match words.iter().find(|(name, _)| *name == text) {
            Some((_, meaning)) => Ok(meaning.clone()),
            None => Err(Complaint::new(
                format!("this is none of {}", suggest::listed(names())),
                format!("choose one of them{}", suggest::did_you_mean(text, names())),
            )),
        })
    }

    pub(super) fn duration(self, reader: &mut Reader) -> Option<Duration> {
        match &self.kind {
            ValueKind::I64(_) | ValueKind::I128(_) | ValueKind::Float(_) => {
                self.complain(reader, duration::without_unit());
                None
            }
            _ => self.checked(reader, duration::parse),
        }
    }

    /// A duration above zero.
    pub(super) fn timeout(self, reader: &mut Reader) -> Option<Duration> {
        let problem = self.problem("nothing is done in no time", "write a timeout above \"0s\"");
        let timeout = self.duration(reader)?;
        if timeout.is_zero() {
            reader.add(problem);
            return None;
        }
        Some(timeout)
    }

    pub(super) fn boolean(self, reader: &mut Reader) -> Option<bool> {
        match &self.kind {
            ValueKind::Boolean(flag) => Some(*flag),
            ValueKind::String(text) if self.is_from_environment() => match text.trim().to_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(true),
                "false" | "no" | "off" | "0" => Some(false),
                _ => self.wrong_type(reader, "true or false"),
            },
            _ => self.wrong_type(reader, "true or false, without quotes"),
        }
    }

    pub(super) fn integer(self, reader: &mut Reader, range: RangeInclusive<i64>) -> Option<i64> {
        let number = match &self.kind {
            ValueKind::I64(number) => Some(*number),
            ValueKind::I128(_) => None,
            ValueKind::String(text) if self.is_from_environment() => match text.trim().parse() {
                Ok(number) => Some(number),
                Err(_) => return self.wrong_type(reader, "a whole number"),
            },
            _ => return self.wrong_type(reader, "a whole number, without quotes"),
        };
        let inside = number.filter(|number| range.contains(number));
        if inside.is_none() {
            let what = match *range.end() {
                i64::MAX => format!("this must be at least {}", range.start()),
                end => format!("this must be between {} and {end}", range.start()),
            };
            self.complain(reader, Complaint::new(what, "correct it"));
        }
        inside
    }

    pub(super) fn number(self, reader: &mut Reader) -> Option<f64> {
        match &self.kind {
            ValueKind::Float(number) => Some(*number),
            #[allow(clippy::cast_precision_loss, reason = "a factor beyond 2^53 is no factor")]
            ValueKind::I64(number) => Some(*number as f64),
            ValueKind::String(text) if self.is_from_environment() => match text.trim().parse() {
                Ok(number) => Some(number),
                Err(_) => self.wrong_type(reader, "a number"),
            },
            _ => self.wrong_type(reader, "a number, without quotes"),
        }
    }

    /// A list. In an environment variable commas separate the items.
    pub(super) fn list(self, reader: &mut Reader) -> Option<Vec<Entry>> {
        let items: Vec<ValueOrText> = match self.kind {
            ValueKind::Array(values) => values.into_iter().map(|value| (place_of(&value), value.kind)).collect(),
            ValueKind::String(text) if self.place.starts_with(PLACE) => {
                let items = if text.trim().is_empty() { Vec::new() } else { text.split(',').collect() };
                items.into_iter().map(|item| (None, ValueKind::String(item.trim().to_owned()))).collect()
            }
            _ => return self.wrong_type(reader, "a list in square brackets"),
        };
        let entry = |(index, (place, kind)): (usize, ValueOrText)| Entry {
            key: format!("{}[{index}]", self.key),
            place: place.unwrap_or_else(|| self.place.clone()),
            kind,
        };
        Some(items.into_iter().enumerate().map(entry).collect())
    }

    pub(super) fn table(self, reader: &mut Reader) -> Option<Section> {
        match self.kind {
            ValueKind::Table(values) => Some(Section::new(self.key, values)),
            _ => self.wrong_type(reader, "a table"),
        }
    }
}
