//! Reads `[targets.NAME]`: where rewards are delivered.

use std::{collections::BTreeMap, time::Duration};

use super::{
    address,
    error::Complaint,
    path,
    read::{Entry, Reader, Section},
    secrets::{SecretKind, Slot},
    types::{TargetKind, TargetSettings},
};

/// The keys of one type. The other type refuses them by name.
const HTTP_ONLY: [&str; 7] = ["url", "secret", "secret_file", "bearer", "bearer_file", "ca_file", "concurrency"];
const COMMAND_ONLY: [&str; 3] = ["argv", "env", "pass_env"];

const HTTP_TIMEOUT: Duration = Duration::from_secs(20);
const COMMAND_TIMEOUT: Duration = Duration::from_mins(1);
const CONCURRENCY: usize = 4;

/// The longest name of a target.
const LONGEST_NAME: usize = 64;

/// The sections `[targets.NAME]`, read.
pub(super) struct TargetSections {
    /// All names, including those of targets with problems: a route to one of these is no second problem.
    pub(super) names: Vec<String>,
    /// None where the reader has a problem.
    pub(super) settings: Option<BTreeMap<String, TargetSettings>>,
    pub(super) secrets: Vec<Slot>,
}

#[derive(Clone, Copy)]
enum Type {
    Http,
    Command,
}

pub(super) fn read(reader: &mut Reader, root: &mut Section) -> TargetSections {
    let mut targets = TargetSections { names: Vec::new(), settings: Some(BTreeMap::new()), secrets: Vec::new() };
    let entries = match root.take(reader, "targets").map(|entry| entry.table(reader)) {
        Some(Some(mut section)) => section.drain(reader),
        Some(None) => return TargetSections { settings: None, ..targets },
        None => Vec::new(),
    };
    if entries.is_empty() {
        let complaint =
            Complaint::new("there is no target", "add a section such as [targets.app] with its type and url");
        reader.missing("targets", complaint);
        return TargetSections { settings: None, ..targets };
    }
    for (name, entry) in entries {
        let target = target(reader, &name, entry, &mut targets.secrets);
        targets.settings = targets.settings.zip(target).map(|(mut all, target)| {
            all.insert(name.clone(), target);
            all
        });
        targets.names.push(name);
    }
    targets
}

/// Environment variables lose a name's case and use two underscores for a dot, so names must not depend on either.
fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    let outer = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    name.len() <= LONGEST_NAME
        && name.bytes().all(inner)
        && outer(name.bytes().next())
        && outer(name.bytes().next_back())
        && !name.contains("__")
}

fn target(reader: &mut Reader, name: &str, entry: Entry, secrets: &mut Vec<Slot>) -> Option<TargetSettings> {
    let named = is_name(name);
    if !named {
        let what = "a target's name is made of a-z, 0-9, single _ and -, and begins and ends with a letter or digit";
        entry.complain(reader, Complaint::new(what, "rename it"));
    }
    let mut section = entry.table(reader)?;
    let kind = section.require(reader, "type", r#"write type = "http" or type = "command""#);
    // Without its type nothing more can be checked.
    let kind = kind.and_then(|entry| entry.word(reader, &[("http", Type::Http), ("command", Type::Command)]))?;
    let target = match kind {
        Type::Http => http(reader, name, &mut section, secrets),
        Type::Command => command(reader, &mut section),
    };
    section.finish(reader);
    target.filter(|_| named)
}

fn http(reader: &mut Reader, name: &str, section: &mut Section, secrets: &mut Vec<Slot>) -> Option<TargetSettings> {
    let url = section.require(reader, "url", "write where rewards are POSTed to");
    let url = url.and_then(|entry| entry.checked(reader, address::parse));
    let ca_file =
        section.take(reader, "ca_file").map_or(Some(None), |entry| entry.checked(reader, path::parse).map(Some));
    let concurrency = match section.take(reader, "concurrency") {
        None => Some(CONCURRENCY),
        Some(entry) => entry.integer(reader, 1..=64).and_then(|number| usize::try_from(number).ok()),
    };
    let secret = Slot::read(reader, section, SecretKind::Webhook(name.to_owned()), "secret", "secret_file");
    let bearer = Slot::read(reader, section, SecretKind::Bearer(name.to_owned()), "bearer", "bearer_file");
    let (timeout, idempotent) = common(reader, section, HTTP_TIMEOUT, true);
    for key in COMMAND_ONLY {
        section.refuse(reader, key, Complaint::new(r#"only a target with type = "command" has this"#, "take it out"));
    }
    secrets.extend([secret?, bearer?]);
    let kind = TargetKind::Http { url: url?, ca_file: ca_file?, concurrency: concurrency? };
    Some(TargetSettings { timeout: timeout?, idempotent: idempotent?, kind })
}

fn command(reader: &mut Reader, section: &mut Section) -> Option<TargetSettings> {
    let argv = section.require(reader, "argv", "write the program and its arguments, as a list");
    let argv = argv.and_then(|entry| argv_of(reader, entry));
    let env = section.take(reader, "env").map_or(Some(BTreeMap::new()), |entry| env_of(reader, entry));
    let pass_env = section.take(reader, "pass_env").map_or(Some(Vec::new()), |entry| names_of(reader, entry));
    let (timeout, idempotent) = common(reader, section, COMMAND_TIMEOUT, false);
    for key in HTTP_ONLY {
        section.refuse(reader, key, Complaint::new(r#"only a target with type = "http" has this"#, "take it out"));
    }
    let kind = TargetKind::Command { argv: argv?, env: env?, pass_env: pass_env? };
    Some(TargetSettings { timeout: timeout?, idempotent: idempotent?, kind })
}

fn argv_of(reader: &mut Reader, entry: Entry) -> Option<Vec<String>> {
    let no_program = entry.problem("there is no program", "write its path as the first item of the list");
    let items: Vec<_> = entry.list(reader)?.into_iter().map(|item| item.checked(reader, argument)).collect();
    let argv = items.into_iter().collect::<Option<Vec<_>>>()?;
    if argv.first().is_none_or(String::is_empty) {
        reader.add(no_program);
        return None;
    }
    Some(argv)
}

fn argument(text: &str) -> Result<String, Complaint> {
    if text.contains('\0') {
        return Err(Complaint::new("an argument cannot hold a NUL", "take it out"));
    }
    Ok(text.to_owned())
}

fn env_of(reader: &mut Reader, entry: Entry) -> Option<BTreeMap<String, String>> {
    let mut variables = Some(BTreeMap::new());
    for (name, entry) in entry.table(reader)?.drain(reader) {
        let value = if entry.is_from_environment() {
            // `MAKEGOOD_TARGETS__APP__ENV__REGION` arrives in lower case, and the program would not find it.
            let what = "a variable's name keeps its case in the file only";
            entry.complain(reader, Complaint::new(what, "write it there"));
            None
        } else if let Err(complaint) = variable_of_a_command(&name) {
            entry.complain(reader, complaint);
            None
        } else {
            entry.checked(reader, argument)
        };
        variables = variables.zip(value).map(|(mut variables, value)| {
            variables.insert(name, value);
            variables
        });
    }
    variables
}

fn names_of(reader: &mut Reader, entry: Entry) -> Option<Vec<String>> {
    let check = |name: &str| variable_of_a_command(name).map(|()| name.to_owned());
    let names: Vec<_> = entry.list(reader)?.into_iter().map(|item| item.checked(reader, check)).collect();
    names.into_iter().collect()
}

/// Names of variables that a command may get: none that holds a secret of makegood's or leads to one, and none by which a
/// process talks to systemd. Compared without regard to case, as the configuration is read.
fn variable_of_a_command(name: &str) -> Result<(), Complaint> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !name.bytes().all(plain) || name.bytes().next().is_none_or(|byte| byte.is_ascii_digit()) {
        return Err(Complaint::new(
            "a variable's name is made of letters, digits and _, and begins with no digit",
            "correct it",
        ));
    }
    let upper = name.to_ascii_uppercase();
    if upper.starts_with("MAKEGOOD_") {
        return Err(Complaint::new(
            "MAKEGOOD_ begins makegood's own variables, and those of the delivery",
            "choose another name",
        ));
    }
    if ["CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"].contains(&&*upper) {
        return Err(Complaint::new("this is between systemd and makegood", "take it out"));
    }
    Ok(())
}

fn common(
    reader: &mut Reader,
    section: &mut Section,
    timeout: Duration,
    idempotent: bool,
) -> (Option<Duration>, Option<bool>) {
    let timeout = section.take(reader, "timeout").map_or(Some(timeout), |entry| entry.timeout(reader));
    let idempotent = section.take(reader, "idempotent").map_or(Some(idempotent), |entry| entry.boolean(reader));
    (timeout, idempotent)
}
