//! A sandbox, a folder with a configuration and a ledger, and commands of the real binary between them.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, ensure};
use tempfile::TempDir;

use crate::{
    child::{self, Ran},
    sandbox::Sandbox,
};

/// An approval whose grace period is long over.
pub(crate) const LONG_AGO: &str = "2025-01-19T10:30:00Z";

pub(crate) struct Place {
    pub(crate) sandbox: Sandbox,
    folder: TempDir,
    makegood: PathBuf,
    env: BTreeMap<String, String>,
}

impl Place {
    /// A sandbox without a rate limit and without signatures, whose batches end at once by themselves.
    pub(crate) fn new(makegood: &Path) -> anyhow::Result<Self> {
        let place = Self {
            sandbox: Sandbox::start(),
            folder: tempfile::Builder::new().prefix("makegood-bench-").tempdir()?,
            makegood: makegood.to_owned(),
            env: BTreeMap::new(),
        };
        let mut firstpromoter = place.sandbox.firstpromoter.lock();
        firstpromoter.rate_limit = None;
        firstpromoter.switches.batch_takes = Some(std::time::Duration::ZERO);
        drop(firstpromoter);
        // What checking them costs is the merchant's, and would be in every row.
        place.sandbox.merchant.lock().secret = None;
        fs::write(place.path("makegood.toml"), place.sandbox.config_toml(&place.ledger()))?;
        Ok(place)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.path("ledger.db")
    }

    /// Sets a key of the configuration.
    pub(crate) fn set(&mut self, key: &str, value: &impl ToString) -> &mut Self {
        let name = format!("MAKEGOOD_{}", key.replace('.', "__").to_uppercase());
        self.env.insert(name, value.to_string());
        self
    }

    pub(crate) fn unset(&mut self, key: &str) {
        self.env.remove(&format!("MAKEGOOD_{}", key.replace('.', "__").to_uppercase()));
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.makegood);
        command.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default()).env("HOME", self.folder.path());
        command.envs(&self.env).current_dir(self.folder.path());
        command.arg("--config").arg(self.path("makegood.toml")).args(args);
        command
    }

    /// Another part of this program, in the same place.
    pub(crate) fn own(&self, args: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(env::current_exe()?);
        command.env_clear().current_dir(self.folder.path()).args(args);
        Ok(command)
    }

    pub(crate) fn run(&self, args: &[&str]) -> anyhow::Result<Ran> {
        self.ran(self.command(args))
    }

    /// Runs any command in this place.
    pub(crate) fn ran(&self, command: Command) -> anyhow::Result<Ran> {
        child::run(command, self.folder.path())?.done()
    }

    /// `makegood --quiet once --json` and these.
    pub(crate) fn once(&self, args: &[&str]) -> anyhow::Result<Ran> {
        self.run(&[&["--quiet", "once", "--json"], args].concat())
    }

    /// A pass, and what FirstPromoter counted meanwhile.
    pub(crate) fn requests_of_a_pass(&self, args: &[&str]) -> anyhow::Result<f64> {
        let before = self.sandbox.firstpromoter.requests();
        let ran = self.once(args)?;
        let counted = self.sandbox.firstpromoter.requests() - before;
        ensure!(ran.count("api_requests")? == counted, "the report says another number than the sandbox: {counted}");
        whole(counted)
    }
}

/// A count as a figure.
pub(crate) fn whole(count: u64) -> anyhow::Result<f64> {
    u32::try_from(count).map(f64::from).context("too large a count")
}

pub(crate) fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}
