//! The command line.

pub(crate) mod bounded;

use std::{path::PathBuf, time::Duration};

use clap::{ArgAction, ArgGroup, Parser, Subcommand};

use crate::{domain::CommissionId, ledger::CLAIM_MAX, telemetry::Verbosity};

/// Delivers the non-monetary FirstPromoter rewards that a webhook handler missed, once, and marks them fulfilled.
#[derive(Debug, Clone, Parser)]
#[command(name = "makegood", version, about, max_term_width = 100, after_help = EXIT_CODES, disable_help_subcommand = true)]
pub struct Cli {
    /// Configuration file
    #[arg(
        long,
        global = true,
        env = "MAKEGOOD_CONFIG",
        default_value = "/etc/makegood/makegood.toml",
        value_name = "FILE"
    )]
    pub config: PathBuf,
    /// Print one JSON document on stdout
    #[arg(long, global = true)]
    pub json: bool,
    /// Log more (twice: everything)
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Log warnings and errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done, nothing needs a person
  1  could not run, or did not complete
  2  wrong usage or configuration
  3  done, but something stands in `attention`
  4  busy: another process holds the pass";

/// The commands.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Run the service: passes on schedule and on SIGUSR1, until SIGTERM
    Run,
    /// Make one pass now and report
    Once {
        /// Just this commission; may be given several times
        #[arg(long = "commission", value_name = "ID", value_parser = commission_id)]
        commissions: Vec<CommissionId>,
        /// Lift the fuse (`policy.max_deliveries_per_pass`) to N for this pass
        #[arg(long, value_name = "N")]
        max_deliveries: Option<u64>,
    },
    /// Show what a pass would do, and why; changes nothing anywhere
    Plan,
    /// Check configuration, secrets, FirstPromoter, targets and ledger; changes nothing anywhere
    Check {
        /// Only what needs no network; exits 0 where there are only warnings (what `systemctl reload` runs first)
        #[arg(long)]
        offline: bool,
    },
    /// Show from the ledger where things stand
    Status,
    /// Show where a commission stands and why, or all those of one person
    Show {
        /// FirstPromoter's id of the commission, or the email of a promoter or referral
        #[arg(value_name = "ID|EMAIL", value_parser = whom)]
        whom: Whom,
    },
    /// Decide on a held reward
    #[command(group = ArgGroup::new("decision").required(true))]
    Resolve {
        /// FirstPromoter's id of the commission
        #[arg(value_name = "ID", value_parser = commission_id)]
        id: CommissionId,
        /// The recipient has it: have it marked fulfilled
        #[arg(long, group = "decision")]
        delivered: bool,
        /// It did not take effect: deliver it in the next pass
        #[arg(long, group = "decision")]
        retry: bool,
        /// It is not to be delivered
        #[arg(long, group = "decision")]
        dismiss: bool,
        /// What the recipient's system calls the delivery
        // Not `requires`: clap skips that check where a given argument excludes the required one.
        #[arg(long, value_name = "R", value_parser = bounded::receipt(), conflicts_with_all = ["retry", "dismiss"])]
        receipt: Option<String>,
        /// Why, for the journal
        #[arg(long, value_name = "TEXT", value_parser = bounded::any_reason())]
        reason: Option<String>,
    },
    /// Take back what was delivered: unfulfilled at FirstPromoter, reversed in the ledger, never delivered again
    Reverse {
        /// FirstPromoter's id of the commission
        #[arg(value_name = "ID", value_parser = commission_id)]
        id: CommissionId,
        /// Why, for the journal
        #[arg(long, value_name = "TEXT", value_parser = bounded::reason())]
        reason: String,
    },
    /// Look after the ledger itself
    Ledger {
        /// What to do
        #[command(subcommand)]
        command: LedgerCommand,
    },
    /// Print the manual (delivery, ledger, decisions, configuration, operation), or the help of a command
    Help {
        /// A topic of the manual, or a command
        #[arg(value_name = "TOPIC|COMMAND")]
        words: Vec<String>,
    },
    /// Print the completion script of a shell
    #[command(hide = true)]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write a page a command into a folder
    #[command(hide = true)]
    Man {
        /// Where the pages go; created where needed
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
    /// For a webhook handler: take a commission before delivering it (exit 0 taken, 3 delivered already, 4 somebody has it)
    Claim {
        /// FirstPromoter's id of the commission
        #[arg(value_name = "ID", value_parser = commission_id)]
        id: CommissionId,
        /// How long; a handler that dies gives it back after this
        #[arg(long = "for", value_name = "PERIOD", default_value = "10m", value_parser = claim_period)]
        period: Duration,
        /// Who takes it; the same owner may renew
        #[arg(long, value_name = "NAME", default_value = "webhook", value_parser = bounded::owner())]
        owner: String,
    },
    /// For a webhook handler: write that a commission was delivered; ends the claim
    Record {
        /// FirstPromoter's id of the commission
        #[arg(value_name = "ID", value_parser = commission_id)]
        id: CommissionId,
        /// What the recipient's system calls the delivery
        #[arg(long, value_name = "R", value_parser = bounded::receipt())]
        receipt: Option<String>,
        /// Who delivered it: the owner of the claim
        #[arg(long, value_name = "NAME", default_value = "webhook", value_parser = bounded::owner())]
        owner: String,
    },
}

/// What can be done to or with the ledger itself.
#[derive(Debug, Clone, Subcommand)]
pub enum LedgerCommand {
    /// Go on with a ledger that is behind its mark (restored from an old backup); shows first what is at stake
    Accept {
        /// Do it, after having looked
        #[arg(long)]
        yes: bool,
    },
    /// Copy the ledger to a new file, at any time, also while makegood runs
    Backup {
        /// The file to be made; must not exist
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Put a copy in the place of the ledger, which is kept beside it; shows first what it would do
    Restore {
        /// The copy
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Do it, after having looked
        #[arg(long)]
        yes: bool,
    },
    /// Print the help of a command
    #[command(hide = true)]
    Help {
        /// A command
        #[arg(value_name = "COMMAND")]
        words: Vec<String>,
    },
}

impl Command {
    /// Whether it is the service. It runs until it is stopped and reports only in its log; other commands end with a report.
    pub fn is_service(&self) -> bool {
        matches!(self, Self::Run)
    }
}

impl Cli {
    /// How much to log. Only the service logs what happened; other commands say it in their report.
    pub fn verbosity(&self) -> Verbosity {
        match (self.command.is_service(), self.quiet, self.verbose) {
            (true, false, 0) => Verbosity::Configured,
            (true, quiet, verbose) => Verbosity::from_flags(quiet, verbose),
            (false, _, 0) => Verbosity::Quiet,
            (false, quiet, more) => Verbosity::from_flags(quiet, more - 1),
        }
    }
}

fn commission_id(text: &str) -> Result<CommissionId, String> {
    text.parse()
        .ok()
        .filter(|id: &CommissionId| id.0 > 0)
        .ok_or_else(|| "a commission's id is a positive whole number, as FirstPromoter shows it".to_owned())
}

/// Whom or what `show` is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whom {
    /// One commission.
    Commission(CommissionId),
    /// All those of a promoter or referral with this email, whatever the case of its ASCII letters.
    Email(String),
}

fn whom(text: &str) -> Result<Whom, String> {
    match text.trim().split_once('@') {
        Some((name, host)) if !name.is_empty() && !host.is_empty() => Ok(Whom::Email(text.trim().to_owned())),
        Some(_) => Err("an email has something before and after its @".to_owned()),
        None => commission_id(text)
            .map(Whom::Commission)
            .map_err(|error| format!("{error}; or give a promoter's or referral's email")),
    }
}

fn claim_period(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text)
        .ok()
        .filter(|period| !period.is_zero() && *period <= CLAIM_MAX)
        .ok_or_else(|| "a period is a number with a unit, as 10m or 2h; at most 7d".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_are_taken_after_the_command_too() {
        let cli =
            Cli::try_parse_from(["makegood", "once", "--commission", "7", "--json", "--config", "x.toml"]).unwrap();
        assert!(cli.json);
        assert_eq!(cli.config, PathBuf::from("x.toml"));
        assert!(matches!(cli.command, Command::Once { commissions, .. } if commissions == [CommissionId(7)]));
    }

    #[test]
    fn an_id_that_is_no_positive_number_is_refused() {
        for text in ["0", "-1", "x", "1.5", ""] {
            for command in ["show", "claim"] {
                assert!(Cli::try_parse_from(["makegood", command, text]).is_err(), "{command} {text:?}");
            }
        }
    }

    #[test]
    fn a_text_that_the_ledger_keeps_is_refused_where_it_is_too_long() {
        for (args, argument, max) in [
            (&["resolve", "7", "--dismiss", "--reason"][..], "--reason", 1_000),
            (&["reverse", "7", "--reason"], "--reason", 1_000),
            (&["resolve", "7", "--delivered", "--receipt"], "--receipt", 500),
            (&["record", "7", "--receipt"], "--receipt", 500),
            (&["record", "7", "--owner"], "--owner", 100),
            (&["claim", "7", "--owner"], "--owner", 100),
        ] {
            let given = |length: usize| {
                let text = "é".repeat(length);
                Cli::try_parse_from(["makegood"].into_iter().chain(args.iter().copied()).chain([text.as_str()]))
            };
            given(max).unwrap();
            let error = given(max + 1).unwrap_err();
            let words = error.to_string();
            for said in [argument, &format!("{} characters", max + 1), &format!("at most {max}"), "Nothing was done"] {
                assert!(words.contains(said), "{args:?}: {said:?} is missing from {words}");
            }
            assert!(!words.contains("éé") && error.exit_code() == 2, "{words}");
        }
    }

    #[test]
    fn show_takes_an_id_or_an_email() {
        let whom = |text| {
            let Command::Show { whom } = Cli::try_parse_from(["makegood", "show", text]).unwrap().command else {
                panic!("{text}")
            };
            whom
        };
        assert_eq!(whom("88901"), Whom::Commission(CommissionId(88_901)));
        assert_eq!(whom(" Pat@Example.com "), Whom::Email("Pat@Example.com".to_owned()));
        for text in ["@", "pat@", "@example.com"] {
            assert!(Cli::try_parse_from(["makegood", "show", text]).is_err(), "{text:?}");
        }
    }
}
