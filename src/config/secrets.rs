//! Secrets: where they may be, and how they are read.
//!
//! Each secret `x` is given as `x`, as `x_file`, or as a systemd credential. The environment goes before the file; a credential
//! counts only where neither has the secret.
//!
//! Guarantees: a secret is a [`SecretString`] from the moment it is read. No message shows one, nor a path that may be one by
//! mistake.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use secrecy::{ExposeSecret, SecretString};

use super::{
    address,
    environment::{self, CREDENTIALS_DIRECTORY, PLACE},
    error::{Complaint, ConfigError, Problem},
    path,
    read::{Reader, Section},
    types::{NoticeSecrets, Secrets, TargetSecrets},
    unit,
};

/// What systemd puts before the names of the files in a folder (`LoadCredential=makegood:/etc/makegood/credentials`).
const FROM_FOLDER: &str = "makegood_";
/// <https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>, "Signature scheme".
pub(crate) const SIGNING_SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// No secret is longer.
const LARGEST_FILE: u64 = 64 * 1024;

/// Where the secrets of a configuration are. `Debug` shows the keys only.
#[derive(Clone)]
pub struct SecretSources {
    file: String,
    credentials: Option<PathBuf>,
    reloads: bool,
    slots: Vec<Slot>,
}

impl fmt::Debug for SecretSources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.slots.iter().map(|slot| &slot.key)).finish()
    }
}

impl SecretSources {
    pub(super) fn new(file: &Path, env: &[(String, String)], slots: Vec<Slot>) -> Self {
        let credentials = env.iter().find(|(name, value)| name == CREDENTIALS_DIRECTORY && !value.is_empty());
        let credentials = credentials.map(|(_, value)| PathBuf::from(value)).or_else(|| unit::credentials(file));
        Self { file: file.display().to_string(), credentials, reloads: environment::reloads(env), slots }
    }
}

/// Which secret.
#[derive(Clone)]
pub(super) enum SecretKind {
    ApiKey,
    /// Of this target.
    Webhook(String),
    /// Of this target.
    Bearer(String),
    /// An address with a token in it.
    HeartbeatUrl,
    /// An address with a token in it.
    AlertUrl,
}

impl SecretKind {
    /// The name of the systemd credential.
    fn credential(&self) -> String {
        match self {
            Self::ApiKey => "firstpromoter_api_key".to_owned(),
            Self::Webhook(target) => format!("target_{target}_secret"),
            Self::Bearer(target) => format!("target_{target}_bearer"),
            Self::HeartbeatUrl => "heartbeat_url".to_owned(),
            Self::AlertUrl => "alert_url".to_owned(),
        }
    }
}

/// Every secret and its credential, in the order of the configuration, with one target of this name.
#[cfg(test)]
pub(super) fn credentials_of(target: &str) -> Vec<(String, String)> {
    let target = target.to_owned();
    let all = [
        SecretKind::ApiKey,
        SecretKind::Webhook(target.clone()),
        SecretKind::Bearer(target.clone()),
        SecretKind::HeartbeatUrl,
        SecretKind::AlertUrl,
    ];
    let key = |kind: &SecretKind| match kind {
        SecretKind::ApiKey => "firstpromoter.api_key".to_owned(),
        SecretKind::Webhook(target) => format!("targets.{target}.secret"),
        SecretKind::Bearer(target) => format!("targets.{target}.bearer"),
        SecretKind::HeartbeatUrl => "heartbeat.url".to_owned(),
        SecretKind::AlertUrl => "alert.url".to_owned(),
    };
    all.iter().map(|kind| (key(kind), kind.credential())).collect()
}

#[derive(Clone)]
enum Given {
    Here(SecretString),
    InFile(PathBuf),
    Nowhere,
}

/// One secret, and where the configuration says that it is.
#[derive(Clone)]
pub(super) struct Slot {
    kind: SecretKind,
    key: String,
    file_key: String,
    place: String,
    given: Given,
}

impl Slot {
    /// Looks for `key` and `file_key`; none where the reader knows why.
    pub(super) fn read(
        reader: &mut Reader,
        section: &mut Section,
        kind: SecretKind,
        key: &'static str,
        file_key: &'static str,
    ) -> Option<Self> {
        let (here, in_file) = (section.take(reader, key), section.take(reader, file_key));
        let (here, in_file) = match (here, in_file) {
            (Some(here), Some(in_file)) if here.is_from_environment() == in_file.is_from_environment() => {
                let other = section.path_of(file_key);
                here.complain(reader, Complaint::new(format!("{other} is given as well"), "take out one of the two"));
                return None;
            }
            (Some(here), Some(_)) if here.is_from_environment() => (Some(here), None),
            (Some(_), Some(in_file)) => (None, Some(in_file)),
            either => either,
        };
        let place = here.as_ref().or(in_file.as_ref()).map(|entry| entry.place().to_owned()).unwrap_or_default();
        let given = match (here, in_file) {
            (Some(entry), _) => Given::Here(SecretString::from(entry.text(reader)?)),
            (None, Some(entry)) => Given::InFile(entry.checked(reader, path::parse)?),
            (None, None) => Given::Nowhere,
        };
        Some(Self { kind, key: section.path_of(key), file_key: section.path_of(file_key), place, given })
    }

    /// The secret, if it is given. The error names key and place.
    fn fetch(&self, credentials: Option<&Path>) -> Result<Option<SecretString>, Problem> {
        let problem =
            |place: &str, key: &str, complaint| Problem { place: place.to_owned(), key: key.to_owned(), complaint };
        match &self.given {
            Given::Here(secret) => {
                self.check(secret.expose_secret()).map_err(|it| problem(&self.place, &self.key, it))?;
                Ok(Some(secret.clone()))
            }
            Given::InFile(path) => {
                let secret = match read_secret(path) {
                    Ok(secret) => secret,
                    Err(error) => return Err(problem(&self.place, &self.file_key, unreadable(path, &error))),
                };
                let in_file = |complaint: Complaint| {
                    // The place is the configuration's; the file of the secret is told as well.
                    let complaint = Complaint::new(format!("in {}", path.display()), complaint.to_string());
                    problem(&self.place, &self.file_key, complaint)
                };
                self.check(secret.expose_secret()).map_err(in_file)?;
                Ok(Some(secret))
            }
            Given::Nowhere => {
                let Some(path) = credentials.and_then(|folder| self.credential(folder)) else { return Ok(None) };
                let place = format!("credential {}", path.display());
                let secret = match read_secret(&path) {
                    Ok(secret) => secret,
                    Err(error) => {
                        let what = format!("it cannot be read ({})", error.kind());
                        let complaint = Complaint::new(what, "see LoadCredential= of the unit");
                        return Err(problem(&place, &self.key, complaint));
                    }
                };
                self.check(secret.expose_secret()).map_err(|it| problem(&place, &self.key, it))?;
                Ok(Some(secret))
            }
        }
    }

    /// Its file among the credentials: handed over by its name, or as part of a folder.
    fn credential(&self, folder: &Path) -> Option<PathBuf> {
        let name = self.kind.credential();
        // A file that we may not look at counts as present: reading it says why we may not.
        let absent = |path: &Path| path.symlink_metadata().is_err_and(|it| it.kind() == io::ErrorKind::NotFound);
        let there = |name: &str| Some(folder.join(name)).filter(|path| !absent(path));
        there(&name).or_else(|| there(&format!("{FROM_FOLDER}{name}")))
    }

    fn origin(&self, credentials: Option<&Path>) -> Option<SecretOrigin> {
        match &self.given {
            Given::Here(_) => Some(match self.place.strip_prefix(PLACE) {
                Some(variable) => SecretOrigin::Environment(variable.to_owned()),
                None => SecretOrigin::Configuration(self.place.clone()),
            }),
            Given::InFile(path) => Some(SecretOrigin::File(path.clone())),
            Given::Nowhere => credentials.and_then(|folder| self.credential(folder)).map(SecretOrigin::Credential),
        }
    }

    /// Whether the secret can be valid. The error says what is wrong and what to do.
    fn check(&self, secret: &str) -> Result<(), Complaint> {
        if secret.is_empty() {
            return Err(Complaint::new("the secret is empty", "put it there"));
        }
        match self.kind {
            SecretKind::ApiKey | SecretKind::Bearer(_) if secret.starts_with("Bearer ") => {
                Err(Complaint::new("the word Bearer is added when it is sent", "leave it out"))
            }
            SecretKind::ApiKey | SecretKind::Bearer(_) if !secret.bytes().all(|byte| byte.is_ascii_graphic()) => {
                let what = "the secret holds a space or a character that cannot stand in a header";
                Err(Complaint::new(what, "copy it again"))
            }
            SecretKind::Webhook(_) => signing_secret(secret),
            SecretKind::HeartbeatUrl | SecretKind::AlertUrl => address::parse(secret).map(|_| ()),
            SecretKind::ApiKey | SecretKind::Bearer(_) => Ok(()),
        }
    }
}

/// A secret as Standard Webhooks defines it: base64 of 24 to 64 bytes. A shorter one can be guessed.
fn signing_secret(secret: &str) -> Result<(), Complaint> {
    let complaint = |remedy: String| Complaint::new("this is no signing secret", remedy);
    let Ok(key) = STANDARD.decode(secret.strip_prefix("whsec_").unwrap_or(secret)) else {
        return Err(complaint("it is base64, with or without whsec_ before it".to_owned()));
    };
    if SIGNING_SECRET_BYTES.contains(&key.len()) {
        return Ok(());
    }
    Err(complaint(format!(
        "it has {} bytes, and needs {} to {}. Make one with `openssl rand -base64 32`, and give it to the endpoint, too",
        key.len(),
        SIGNING_SECRET_BYTES.start(),
        SIGNING_SECRET_BYTES.end()
    )))
}

/// The content of a file, without white space at its end.
fn read_secret(path: &Path) -> io::Result<SecretString> {
    let mut text = String::new();
    File::open(path)?.take(LARGEST_FILE).read_to_string(&mut text)?;
    Ok(SecretString::from(text.trim_end()))
}

/// Somebody may have written the secret itself where its path belongs, so the message shows only what looks like a path.
fn unreadable(path: &Path, error: &io::Error) -> Complaint {
    let looks_like_path = path.starts_with("/") || path.starts_with(".") || path.starts_with("..") || path.exists();
    if !looks_like_path && error.kind() == io::ErrorKind::NotFound {
        return Complaint::new(
            "there is no such file in the working directory",
            "write its whole path (not the secret itself)",
        );
    }
    Complaint::new(
        format!("{} cannot be read ({})", path.display(), error.kind()),
        "create it, or give the service's user the right to read it",
    )
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretOrigin {
    /// It stands in the configuration file itself, at this place.
    Configuration(String),
    /// This environment variable.
    Environment(String),
    /// A file of its own.
    File(PathBuf),
    /// A systemd credential.
    Credential(PathBuf),
    /// A credential that the service may have got from systemd at its start: a reload cannot look.
    TakenAtStart,
}

/// What is known about one secret, without the secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretFound {
    /// The key that it belongs to, such as `targets.app.secret`.
    pub key: String,
    /// None where it is not given.
    pub origin: Option<SecretOrigin>,
    /// Why it cannot be used, or why it is needed.
    pub problem: Option<Problem>,
}

impl SecretSources {
    /// Where each secret is, and what is wrong with it. An optional secret that is not given has neither.
    /// `offline`: a reload cannot look at credentials, and needs none.
    pub fn found(&self, offline: bool) -> Vec<SecretFound> {
        let credentials = self.credentials.as_deref();
        let found = self.slots.iter().map(|slot| {
            if offline && self.reloads && matches!(slot.given, Given::Nowhere) {
                return SecretFound { key: slot.key.clone(), origin: Some(SecretOrigin::TakenAtStart), problem: None };
            }
            let (given, problem) = match (slot.fetch(credentials), &slot.kind) {
                (Ok(Some(_)), _) => (true, None),
                (Ok(None), SecretKind::ApiKey) => (false, Some(no_api_key(self, slot))),
                (
                    Ok(None),
                    SecretKind::Webhook(_) | SecretKind::Bearer(_) | SecretKind::HeartbeatUrl | SecretKind::AlertUrl,
                ) => (false, None),
                (Err(problem), _) => (true, Some(problem)),
            };
            SecretFound { key: slot.key.clone(), origin: given.then(|| slot.origin(credentials)).flatten(), problem }
        });
        found.collect()
    }

    /// Whether systemd gives this process credentials. It does so once, at the start.
    pub fn has_credentials(&self) -> bool {
        self.credentials.is_some()
    }

    /// Files among the credentials that nothing uses, with the reason: most likely a mistake.
    pub fn useless_credentials(&self) -> Vec<String> {
        let Some(files) = self.credentials.as_ref().and_then(|folder| folder.read_dir().ok()) else {
            return Vec::new();
        };
        let known: Vec<String> = self.slots.iter().map(|slot| slot.kind.credential()).collect();
        let is_known = |name: &str| known.iter().any(|known| name.strip_prefix(FROM_FOLDER).unwrap_or(name) == known);
        let useless = files.flatten().filter_map(|entry| {
            let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path().display().to_string());
            let kind = entry.file_type().ok()?;
            if kind.is_symlink() {
                Some(format!("{path} is a link, which systemd leaves out of a folder"))
            } else if kind.is_file() && !name.starts_with('.') && !is_known(&name) {
                Some(format!("{path} is no secret of this configuration"))
            } else {
                None
            }
        });
        let mut useless: Vec<String> = useless.collect();
        useless.sort();
        useless
    }
}

/// Reads and checks the secrets. The error has every problem.
pub fn load_secrets(sources: &SecretSources) -> Result<Secrets, ConfigError> {
    let (mut api_key, mut targets) = (None, BTreeMap::<String, TargetSecrets>::new());
    let mut notice = NoticeSecrets::default();
    let mut problems = Vec::new();
    for slot in &sources.slots {
        match (slot.fetch(sources.credentials.as_deref()), &slot.kind) {
            (Err(problem), _) => problems.push(problem),
            (Ok(None), SecretKind::ApiKey) => problems.push(no_api_key(sources, slot)),
            (Ok(secret), SecretKind::ApiKey) => api_key = secret,
            (Ok(secret), SecretKind::Webhook(target)) => targets.entry(target.clone()).or_default().secret = secret,
            (Ok(secret), SecretKind::Bearer(target)) => targets.entry(target.clone()).or_default().bearer = secret,
            (Ok(secret), SecretKind::HeartbeatUrl) => notice.heartbeat_url = secret,
            (Ok(secret), SecretKind::AlertUrl) => notice.alert_url = secret,
        }
    }
    match api_key {
        Some(api_key) if problems.is_empty() => Ok(Secrets { api_key, targets, notice }),
        _ => Err(ConfigError::Invalid(problems)),
    }
}

fn no_api_key(sources: &SecretSources, slot: &Slot) -> Problem {
    let name = slot.kind.credential();
    let remedy = format!(
        "set {} = \"PATH\", {}, or the systemd credential {name} (for the package's unit: the file \
         /etc/makegood/credentials/{name}, which only root reads: `sudo makegood ...`)",
        slot.file_key,
        environment::variable(&slot.key),
    );
    let complaint = Complaint::new("this is missing", remedy);
    Problem { place: sources.file.clone(), key: slot.key.clone(), complaint }
}
