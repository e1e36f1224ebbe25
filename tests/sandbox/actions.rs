//! The calls that change commissions: mark, approve and deny, and the batches that carry them out later.
//!
//! Source: `commissions.json` (`BatchActionRequest`: more than 5 ids are worked on asynchronously) and `batches.json`.

use std::time::Instant;

use serde_json::{Value, json};

use super::{
    commission::rails,
    firstpromoter::State,
    http::{Ask, Reply},
};

/// The end of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchEnd {
    /// Its status becomes `completed`; the changes are made.
    Completes,
    /// Its status stays `in_progress`; nothing changes.
    Never,
    /// Its status becomes `failed`; nothing changes.
    Fails,
    /// Its status becomes `stopped`; nothing changes.
    Stops,
    /// A request for its status gets 404; nothing changes.
    Vanishes,
    /// A request for its status gets 404; the changes are made.
    VanishesDone,
}

/// The change that a call asks for.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Fulfilled(bool),
    Status(&'static str),
}

/// A batch, running or ended.
pub struct Batch {
    deed: Deed,
    ids: Vec<i64>,
    polls_left: u32,
    /// When it ends by itself; null: when it is asked for often enough.
    ends_at: Option<Instant>,
    status: &'static str,
    errors: Vec<String>,
}

impl Batch {
    fn wire(&self, id: i64, at: &str) -> Value {
        let ended = self.status == "completed";
        let label = match self.deed {
            Deed::Fulfilled(true) => "commission/mark_fulfilled",
            Deed::Fulfilled(false) => "commission/mark_unfulfilled",
            Deed::Status("approved") => "commission/approve",
            Deed::Status(_) => "commission/deny",
        };
        json!({
            "id": id,
            "status": self.status,
            "total": self.ids.len(),
            "selected_total": self.ids.len(),
            "processed_count": if ended { self.ids.len() } else { 0 },
            "failed_count": self.errors.len(),
            "action_label": label,
            "created_at": at,
            "updated_at": at,
            "meta": null,
            "progress": i32::from(ended),
            "processing_errors": self.errors,
        })
    }
}

impl State {
    /// `POST /commissions/mark_fulfilled` and `/mark_unfulfilled`
    pub(super) fn mark(&mut self, ask: &Ask, fulfilled: bool) -> Reply {
        let deed = Deed::Fulfilled(fulfilled);
        let Some(ids) = ids_of(ask) else { return no_ids() };
        if self.switches.mark_all_or_nothing
            && let Some(error) = ids.iter().find_map(|id| self.objection(deed, *id))
        {
            return Reply::error(422, "invalid_record", &error);
        }
        self.start(deed, ids)
    }

    /// `POST /commissions/approve` and `/deny`
    pub(super) fn decide(&mut self, ask: &Ask, status: &'static str) -> Reply {
        let Some(ids) = ids_of(ask) else { return no_ids() };
        self.start(Deed::Status(status), ids)
    }

    /// Carries out the batches whose time is over.
    pub(super) fn end_batches(&mut self) {
        let now = Instant::now();
        let due = |batch: &Batch| batch.ends_at.is_some_and(|at| at <= now);
        let ids: Vec<i64> = self.batches.iter().filter(|(_, batch)| due(batch)).map(|(id, _)| *id).collect();
        for id in ids {
            let Some(mut batch) = self.batches.remove(&id) else { continue };
            batch.errors = self.carry_out(batch.deed, &batch.ids);
            batch.status = "completed";
            (batch.ends_at, batch.polls_left) = (None, 0);
            self.batches.insert(id, batch);
        }
    }

    /// `GET /batch_processes/{id}`
    pub(super) fn batch(&mut self, ask: &Ask) -> Reply {
        let id = ask.path.rsplit('/').next().and_then(|id| id.parse().ok()).unwrap_or_default();
        let not_found = Reply::error(404, "not_found", "Record not found");
        let Some(mut batch) = self.batches.remove(&id) else { return not_found };
        let vanishes = matches!(self.switches.batch_end, BatchEnd::Vanishes | BatchEnd::VanishesDone);
        if (batch.polls_left > 0 || batch.ends_at.is_some()) && !vanishes {
            batch.polls_left = batch.polls_left.saturating_sub(1);
            batch.status = "in_progress";
        } else if matches!(batch.status, "pending" | "in_progress") {
            match self.switches.batch_end {
                BatchEnd::Completes | BatchEnd::VanishesDone => {
                    batch.errors = self.carry_out(batch.deed, &batch.ids);
                    batch.status = "completed";
                }
                BatchEnd::Fails => batch.status = "failed",
                BatchEnd::Stops => batch.status = "stopped",
                BatchEnd::Never => batch.status = "in_progress",
                BatchEnd::Vanishes => {}
            }
        }
        let reply = Reply::json(200, &batch.wire(id, &rails(self.now())));
        self.batches.insert(id, batch);
        if vanishes { not_found } else { reply }
    }

    fn start(&mut self, deed: Deed, ids: Vec<i64>) -> Reply {
        let id = 1 + self.batches.keys().last().copied().unwrap_or(7);
        let at_once = ids.len() <= self.switches.batch_threshold;
        let ends_at = self.switches.batch_takes.map(|time| Instant::now() + time);
        let polls_left = self.switches.batch_polls;
        let mut batch = Batch { deed, ids, polls_left, ends_at, status: "pending", errors: Vec::new() };
        if at_once {
            (batch.polls_left, batch.ends_at) = (0, None);
            batch.errors = self.carry_out(deed, &batch.ids);
            batch.status = "completed";
        }
        let status = if at_once { 200 } else { self.switches.batch_status };
        let reply = Reply::json(status, &batch.wire(id, &rails(self.now())));
        self.batches.insert(id, batch);
        reply
    }

    /// Makes the change to every commission that allows it. Returns the errors of the others.
    fn carry_out(&mut self, deed: Deed, ids: &[i64]) -> Vec<String> {
        if matches!(deed, Deed::Fulfilled(true)) && self.switches.mark_lies {
            return Vec::new();
        }
        let now = self.now();
        let mut errors = Vec::new();
        for &id in ids {
            if let Some(objection) = self.objection(deed, id) {
                errors.push(objection);
                continue;
            }
            self.change(id, |commission| match deed {
                Deed::Fulfilled(fulfilled) => commission.fulfilled = fulfilled,
                Deed::Status("approved") => commission.approve(Some(now)),
                Deed::Status(status) => {
                    status.clone_into(&mut commission.status);
                    commission.status_updated_at = Some(now);
                }
            });
        }
        errors
    }

    /// Why this commission does not allow the change. Like FirstPromoter's own errors, the text names no id.
    fn objection(&self, deed: Deed, id: i64) -> Option<String> {
        let Some(commission) = self.commissions.get(&id) else { return Some("Commission not found".to_owned()) };
        let Deed::Fulfilled(_) = deed else { return None };
        let reason = if self.switches.mark_fails.contains(&id) {
            "Commission could not be updated"
        } else if commission.is_cash() {
            "Only non-monetary commissions can be fulfilled"
        } else if commission.status != "approved" {
            "Only approved commissions can be fulfilled"
        } else if !commission.has_payout {
            "Commission has no payout"
        } else {
            return None;
        };
        Some(reason.to_owned())
    }
}

fn ids_of(ask: &Ask) -> Option<Vec<i64>> {
    let body = ask.json();
    let ids: Option<Vec<_>> = body.get("ids")?.as_array()?.iter().map(Value::as_i64).collect();
    ids.filter(|ids| !ids.is_empty())
}

fn no_ids() -> Reply {
    let body = json!({
        "message": "Invalid parameters", "code": "invalid_params", "errors": { "ids": ["is missing or no list of integers"] }
    });
    Reply::json(422, &body)
}
