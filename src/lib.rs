//! makegood: a polling reconciliation daemon for FirstPromoter's non-monetary rewards.
//!
//! On a schedule, or on a signal, it lists the approved and unfulfilled commissions that are not money, compares them with
//! its ledger, delivers what is missing to the merchant's own system, and has it marked fulfilled. It is the safety net
//! under a webhook handler, so it must be trusted more than the thing it backs up. In this order:
//!
//! 1. **Never twice.** The intent is on disk before a request leaves ([`ledger`]); what may have taken effect is repeated
//!    only at the same target with the same key, and only if that target deduplicates ([`plan`]).
//! 2. **Never lost.** Every pass looks at everything that is owed, and at every open row of the ledger; what cannot be
//!    decided stands in the view `attention`, with what to do.
//! 3. **Never a lie.** `fulfilled` is written for what FirstPromoter, asked again, calls fulfilled.
//!
//! In reading order:
//!
//! - [`manual`]: what people and programs outside may rely on, in their words.
//! - [`domain`]: the words: commission, unit, recipient, delivery key.
//! - [`plan`]: what FirstPromoter says of a commission, and its state in the ledger, give a [`plan::Step`]. Pure.
//! - [`reconcile`]: a pass on one screen: it reads, has it decided, and carries it out.
//! - [`ledger`]: what was owed, delivered and confirmed: a [`ledger::State`] carries its data, and a [`ledger::Transition`] leads
//!   from one to the next. All SQL.
//! - [`firstpromoter`]: the service, and the traps of its listing.
//! - [`delivery`] and [`failure`]: the targets, and what an answer means.
//! - [`service`]: the loop. [`notice`]: heartbeats, alerts, metrics. [`commands`], [`cli`]: the commands. [`check`]: is
//!   everything in place? [`config`]: the settings.
//! - [`clock`], [`telemetry`]: where time comes from, and where the log goes. `network`: the thread where requests
//!   wait. [`foreign`]: text that others wrote, and secrets in it.
//!
//! How one commission flows: `service::triggers` or `commands::once` → [`reconcile::Pass::run`]: observe (list, whole; ask
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
