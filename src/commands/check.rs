//! `makegood check`: whether everything is in place, one line for each check.

use std::fmt::Write;

use serde::Serialize;

use super::{Exit, Failure, ink::Ink, print, print_json, text};
use crate::{
    check::{self, Check, Verdict},
    cli::Cli,
    config,
};

/// The document of `check --json`, as in the manual.
#[derive(Debug, Serialize)]
struct Document {
    checks: Vec<Check>,
}

pub(super) async fn check(cli: &Cli, offline: bool) -> Result<Exit, Failure> {
    let env = config::environment();
    // A reload's journal needs only what is wrong.
    let wrong_only = offline && env.as_ref().is_ok_and(|env| config::reloads(env));
    let loaded = env.and_then(|env| config::load(&cli.config, &env));
    let (document, exit) = match loaded {
        Ok(config) => {
            let checks = check::all(&cli.config, &config, offline).await;
            let exit = match exit(&checks) {
                // `systemctl reload` asks whether the service would take this configuration. A warning is no reason not to.
                Exit::Attention if offline => Exit::Done,
                exit @ (Exit::Done | Exit::Failed | Exit::Usage | Exit::Attention | Exit::Busy) => exit,
            };
            (Document { checks }, exit)
        }
        Err(error) => (Document { checks: check::unreadable(&error) }, Exit::Usage),
    };
    if cli.json {
        print_json(&document)?;
    } else {
        print(&in_words(&document.checks, wrong_only, Ink::for_stdout()))?;
    }
    Ok(exit)
}

/// Secrets are part of the configuration: without them the service would end with [`Exit::Usage`].
fn exit(checks: &[Check]) -> Exit {
    let failed = |check: &&Check| check.result == Verdict::Failed;
    if checks.iter().filter(failed).any(|check| check.is_configuration) {
        return Exit::Usage;
    }
    match checks.iter().map(|check| check.result).max() {
        Some(Verdict::Failed) => Exit::Failed,
        Some(Verdict::Warning) => Exit::Attention,
        Some(Verdict::Ok) | None => Exit::Done,
    }
}

fn in_words(checks: &[Check], wrong_only: bool, ink: Ink) -> String {
    let mut out = String::new();
    for check in checks.iter().filter(|check| !wrong_only || check.result != Verdict::Ok) {
        let word = check.result.as_str();
        let line = text::wrapped(&format!("{}: {}", check.name, check.detail), 9);
        let _infallible = write!(out, "{}  {}", ink.word(word, &format!("{word:<7}")), line.trim_start());
        if let Some(what_to_do) = &check.what_to_do {
            out.push_str(&text::wrapped(&format!("-> {what_to_do}"), 9));
        }
    }
    let count = |result| checks.iter().filter(|check| check.result == result).count() as u64;
    let (warnings, failed) = (count(Verdict::Warning), count(Verdict::Failed));
    let summary = match (warnings, failed) {
        (0, 0) => "all is well".to_owned(),
        (warnings, 0) => text::counted(warnings, "warning"),
        (0, failed) => format!("{failed} failed"),
        (warnings, failed) => format!("{failed} failed, {}", text::counted(warnings, "warning")),
    };
    if !out.is_empty() {
        out.push('\n');
    }
    let _infallible = writeln!(out, "{}: {summary}.", text::counted(checks.len() as u64, "check"));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, result: Verdict) -> Check {
        let is_configuration = name == "a secret";
        Check { name: name.to_owned(), result, detail: "x".repeat(9), what_to_do: None, is_configuration }
    }

    #[test]
    fn the_worst_result_is_the_exit_code_and_a_missing_secret_is_configuration() {
        use Verdict::{Failed, Ok, Warning};
        for (checks, expected) in [
            (vec![("ledger", Ok), ("clock", Ok)], Exit::Done),
            (vec![("ledger", Ok), ("clock", Warning)], Exit::Attention),
            (vec![("ledger", Failed), ("clock", Warning)], Exit::Failed),
            (vec![("a secret", Failed), ("ledger", Failed)], Exit::Usage),
            (vec![("a secret", Warning)], Exit::Attention),
            // A check's name does not change the exit code.
            (vec![("secret ledger", Failed)], Exit::Failed),
        ] {
            let made: Vec<Check> = checks.iter().map(|(name, result)| check(name, *result)).collect();
            assert_eq!(exit(&made), expected, "{checks:?}");
        }
    }

    #[test]
    fn the_summary_counts_what_is_not_well() {
        let of = |results: &[Verdict]| {
            let checks: Vec<Check> = results.iter().map(|result| check("a", *result)).collect();
            in_words(&checks, false, Ink::PLAIN).lines().last().unwrap_or_default().to_owned()
        };
        assert_eq!(of(&[Verdict::Ok]), "1 check: all is well.");
        assert_eq!(of(&[Verdict::Ok, Verdict::Warning]), "2 checks: 1 warning.");
        assert_eq!(of(&[Verdict::Failed, Verdict::Warning, Verdict::Warning]), "3 checks: 1 failed, 2 warnings.");
    }
}
