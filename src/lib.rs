//! makegood
pub mod clock;
pub mod config;
pub mod delivery;
pub mod domain;
pub mod failure;
pub mod firstpromoter;
pub mod ledger;
pub mod reconcile;
pub mod telemetry;
