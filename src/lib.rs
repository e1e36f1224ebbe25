//! makegood: a polling reconciliation daemon for FirstPromoter's non-monetary rewards.
//!
//! On a schedule, or on a signal, makegood lists the approved and unfulfilled commissions that are not money, compares them
//! with its ledger, delivers the missing ones to the merchant's own system, and has them marked fulfilled. It is the safety net
//! under a webhook handler, so it must be more reliable than the handler. Its promises, in this order:
//!
//! 1. **Never twice.** The intent is on disk before a request leaves ([`ledger`]). A delivery that may have taken effect is
//!    repeated only at the same target with the same key, and only if that target deduplicates ([`plan`]).
//! 2. **Never lost.** Every pass looks at everything that is owed, and at every open row of the ledger. Whatever it cannot
//!    decide is in the view `attention`, with what to do.
//! 3. **Never a lie.** The ledger says `fulfilled` only where FirstPromoter, asked again, says so.
//!
//! Reading order:
//!
//! - [`manual`]: what people and programs outside may rely on, in their words.
//! - [`domain`]: the words: commission, unit, recipient, delivery key.
//! - [`plan`]: what FirstPromoter says about a commission, and its state in the ledger, give a [`plan::Step`]. Pure.
//! - [`reconcile`]: a pass on one screen: it observes, plans, and carries out.
//! - [`ledger`]: what was owed, delivered and confirmed. A [`ledger::State`] carries its data, and a [`ledger::Transition`] leads
//!   from one to the next. All SQL.
//! - [`firstpromoter`]: the API, and the traps of its listing.
//! - [`delivery`] and [`failure`]: the targets, and what an answer means.
//! - [`service`]: the loop. [`notice`]: heartbeats, alerts, metrics. [`commands`], [`cli`]: the commands. [`check`]: whether
//!   everything is in place. [`config`]: the settings.
//! - [`clock`]: the time. [`telemetry`]: the log. `network`: the thread on which requests wait. [`foreign`]: text that others
//!   wrote, and secrets in it.
//!
//! How one commission flows: `service::triggers` or `commands::once` → [`reconcile::Pass::run`]: observe (list everything; ask
//! for open rows that were not listed) → plan → fuse → confirm (ask again, both ways) → deliver (intent, request, outcome) →
//! mark → read back → report.

pub mod check;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod delivery;
pub mod domain;
pub mod failure;
pub mod firstpromoter;
pub mod foreign;
pub mod ledger;
pub mod manual;
mod network;
pub mod notice;
pub mod plan;
pub mod reconcile;
pub mod service;
pub mod telemetry;
