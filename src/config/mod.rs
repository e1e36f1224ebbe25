//! The settings, typed and checked: later layers win, unknown keys are refused, secrets stay secret.
//!
//! Layers: the code's defaults, the file, then `MAKEGOOD_SECTION__KEY`. `src/manual/configuration.md` says what each key means;
//! `config/makegood.toml` shows every key.
//!
//! Reading order: `layers` merges defaults, file and environment. `read` takes typed values out of the result and remembers
//! which keys were asked for. `settings`, `policy` and `targets` ask for the keys, so they are the only list of keys. `secrets`
//! comes last.
//!
//! Guarantees: [`load`] reports all the problems that it can find, not only the first. No message and no warning shows a value
//! of the configuration, because a secret may be in the wrong place; messages show only paths. Settings are loaded and checked
//! without the secrets, so that somebody who may read only the ledger can still use it.
//!
//! Assumptions: names of keys are not secret. The file does not change while it is read.

use std::path::Path;

use crate::{
    clock::{Clock, SystemClock},
    domain::Timestamp,
};

mod address;
mod duration;
mod environment;
mod error;
mod layers;
mod notice;
mod origin;
mod path;
mod policy;
mod read;
mod schedule;
mod secrets;
mod settings;
mod suggest;
mod targets;
#[cfg(test)]
mod tests;
mod types;
mod unit;
mod words;

pub(crate) use address::{LOCALHOST, is_loopback};
pub use environment::{environment, reloads};
pub use error::{Complaint, ConfigError, Problem};
pub use schedule::next_times;
pub(crate) use secrets::SIGNING_SECRET_BYTES;
pub use secrets::{SecretFound, SecretOrigin, SecretSources, load_secrets};
pub use types::{
    AlertSettings, FirstPromoterSettings, LedgerSettings, LogFormat, LogLevel, LogSettings, NoticeSecrets,
    NoticeSettings, Policy, RecipientPolicy, Retry, Route, Schedule, Secrets, Settings, TargetKind, TargetSecrets,
    TargetSettings,
};

/// The result of [`load`].
#[derive(Debug)]
pub struct Config {
    /// Valid as a whole.
    pub settings: Settings,
    /// Where the secrets are; give it to [`load_secrets`] when they are needed.
    pub secret_sources: SecretSources,
    /// Things that are probably mistakes, one sentence each, for the log: a variable that does nothing, a route that is never
    /// reached. They never show a value.
    pub warnings: Vec<String>,
}

/// Reads and checks the configuration: built-in defaults, then `path` (TOML), then the variables in `env` that are named
/// `MAKEGOOD_SECTION__KEY`. Take `env` from [`environment()`]. Reads only those secrets that are in the file or in `env`
/// itself. Finds `$CREDENTIALS_DIRECTORY` and `$STATE_DIRECTORY` in `env`; where they are not set, looks where the package's
/// unit has them.
pub fn load(path: &Path, env: &[(String, String)]) -> Result<Config, ConfigError> {
    load_at(path, env, SystemClock.now())
}

/// [`load`] at a given time: a schedule must have a next time after it.
fn load_at(path: &Path, env: &[(String, String)], now: Timestamp) -> Result<Config, ConfigError> {
    let text = layers::read_file(path)?;
    let (mut reader, root) = layers::merge(path, &text, env)?;
    let parts = settings::read(&mut reader, root, now);
    reader.warn_about_near_misses(env);
    let (settings, secrets, warnings) = reader.finish(parts)?;
    Ok(Config { settings, secret_sources: SecretSources::new(path, env, secrets), warnings })
}
