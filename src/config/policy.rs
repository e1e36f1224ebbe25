//! Reads `[policy]` and `[[routes]]`: everything that a decision depends on.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};

use super::{
    error::Complaint,
    origin::shown,
    read::{Entry, Reader, Section, section as subsection},
    suggest,
    types::{Policy, RecipientPolicy, Retry, Route},
};
use crate::domain::{RecipientKind, Timestamp, Unit};

/// The limit of `policy.max_amount` for points where nobody sets one.
const MAX_POINTS: i64 = 100_000;

/// The keys of `policy.max_amount`.
const LIMITED: [(&str, Unit); 5] = [
    ("points", Unit::Points),
    ("credits", Unit::Credits),
    ("free_months", Unit::FreeMonths),
    ("mon_discount", Unit::MonDiscount),
    ("discount_per", Unit::DiscountPer),
];

const RECIPIENTS: [(&str, RecipientKind); 2] =
    [("promoter", RecipientKind::Promoter), ("referral", RecipientKind::Referral)];

/// `targets`: the names of all targets, including those with problems.
pub(super) fn read(reader: &mut Reader, root: &mut Section, targets: &[String]) -> Option<Policy> {
    let routes = routes(reader, root, targets);
    let policy = subsection(reader, root, "policy", policy);
    let policy = Policy { routes: routes?, ..policy? };
    warn_about_dead_routes(reader, &policy, targets);
    Some(policy)
}

/// Everything except the routes.
fn policy(reader: &mut Reader, section: &mut Section) -> Option<Policy> {
    let grace = section.take(reader, "grace").and_then(|entry| entry.duration(reader));
    let units = section.take(reader, "units").and_then(|entry| units(reader, entry));
    let campaigns = section.take(reader, "campaigns").and_then(|entry| entry.list(reader)).and_then(|entries| {
        let campaigns: Vec<_> = entries.into_iter().map(|entry| entry.integer(reader, 1..=i64::MAX)).collect();
        campaigns.into_iter().collect()
    });
    let deliver_from = section.take(reader, "deliver_from").and_then(|entry| entry.checked(reader, instant));
    let recipient = section.take(reader, "recipient").and_then(|entry| {
        let always = RECIPIENTS.map(|(word, kind)| (word, RecipientPolicy::Always(kind)));
        entry.word(reader, &[&[("auto", RecipientPolicy::Auto)], always.as_slice()].concat())
    });
    let hold_fraud_suspicion = section.take(reader, "hold_fraud_suspicion").and_then(|entry| entry.boolean(reader));
    let hold_self_referral = section.take(reader, "hold_self_referral").and_then(|entry| entry.boolean(reader));
    let max_deliveries_per_pass =
        section.take(reader, "max_deliveries_per_pass").and_then(|entry| entry.integer(reader, 0..=i64::MAX));
    let max_amount = max_amount(reader, section);
    let retry = subsection(reader, section, "retry", retry);
    Some(Policy {
        grace: grace?,
        units: units?,
        campaigns: campaigns?,
        deliver_from: deliver_from?,
        recipient: recipient?,
        hold_fraud_suspicion: hold_fraud_suspicion?,
        hold_self_referral: hold_self_referral?,
        max_deliveries_per_pass: u64::try_from(max_deliveries_per_pass?).ok()?,
        max_amount: max_amount?,
        retry: retry?,
        routes: Vec::new(),
    })
}

fn units(reader: &mut Reader, entry: Entry) -> Option<Vec<Unit>> {
    // Unlike `campaigns`, where an empty list means all.
    let none = entry.problem("there is nothing to deliver without a unit", "name at least one");
    let list = entry.list(reader)?;
    if list.is_empty() {
        reader.add(none);
        return None;
    }
    let units: Vec<_> = list.into_iter().map(|entry| unit(reader, entry)).collect();
    let mut distinct = Vec::new();
    for unit in units.into_iter().collect::<Option<Vec<_>>>()? {
        if !distinct.contains(&unit) {
            distinct.push(unit);
        }
    }
    Some(distinct)
}

/// Why money is not among the units.
fn no_cash() -> Complaint {
    Complaint::new("cash is paid out by FirstPromoter itself", "take it out")
}

fn unit(reader: &mut Reader, entry: Entry) -> Option<Unit> {
    entry.checked(reader, |text| match Unit::from_wire(text) {
        Unit::Cash => Err(no_cash()),
        Unit::Unknown(word) => {
            let units = || Unit::NON_MONETARY.iter().map(Unit::as_str);
            let valid = suggest::listed(units());
            let meant = suggest::did_you_mean(&word, units());
            Err(Complaint::new(format!("this is none of {valid}"), format!("choose one of them{meant}")))
        }
        unit @ (Unit::Credits | Unit::Points | Unit::FreeMonths | Unit::MonDiscount | Unit::DiscountPer) => Ok(unit),
    })
}

fn instant(text: &str) -> Result<Timestamp, Complaint> {
    DateTime::parse_from_rfc3339(text).map(|at| at.with_timezone(&Utc)).map_err(|_| {
        Complaint::new("this is no time with date and zone (RFC 3339)", r#"write it as "2026-01-31T00:00:00Z""#)
    })
}

/// The user's table replaces the default completely: it shows all the limits that apply.
fn max_amount(reader: &mut Reader, parent: &mut Section) -> Option<BTreeMap<Unit, i64>> {
    let Some(entry) = parent.take(reader, "max_amount") else {
        return Some(BTreeMap::from([(Unit::Points, MAX_POINTS)]));
    };
    let mut table = entry.table(reader)?;
    let mut limits = Some(BTreeMap::new());
    for (key, unit) in LIMITED {
        if let Some(entry) = table.take(reader, key) {
            let limit = entry.integer(reader, 1..=i64::MAX);
            limits = limits.zip(limit).map(|(mut limits, limit)| {
                limits.insert(unit, limit);
                limits
            });
        }
    }
    table.refuse(reader, "cash", no_cash());
    table.finish(reader);
    limits
}

fn retry(reader: &mut Reader, section: &mut Section) -> Option<Retry> {
    let first = section.take(reader, "first").and_then(|entry| entry.duration(reader));
    let factor = section.take(reader, "factor").and_then(|entry| at_least_one(reader, entry));
    let max_entry = section.take(reader, "max");
    let max = max_entry.and_then(|entry| not_below(reader, entry, first));
    let give_up_after = section.take(reader, "give_up_after").and_then(|entry| entry.duration(reader));
    Some(Retry { first: first?, factor: factor?, max: max?, give_up_after: give_up_after? })
}

fn at_least_one(reader: &mut Reader, entry: Entry) -> Option<f64> {
    let problem = entry.problem("this must be at least 1, so that waits do not become shorter", "correct it");
    let factor = entry.number(reader)?;
    if factor.is_finite() && factor >= 1.0 {
        return Some(factor);
    }
    reader.add(problem);
    None
}

fn not_below(reader: &mut Reader, entry: Entry, first: Option<Duration>) -> Option<Duration> {
    let problem = entry.problem("this is shorter than policy.retry.first", "make it longer, or the first wait shorter");
    let max = entry.duration(reader)?;
    if first.is_some_and(|first| first > max) {
        reader.add(problem);
        return None;
    }
    Some(max)
}

fn routes(reader: &mut Reader, root: &mut Section, targets: &[String]) -> Option<Vec<Route>> {
    let entries = match root.take(reader, "routes") {
        Some(entry) => entry.list(reader)?,
        None => Vec::new(),
    };
    match (entries.is_empty(), targets) {
        // The missing target has already been reported.
        (_, []) => None,
        (true, [only]) => Some(vec![Route { unit: None, recipient: None, campaign: None, target: only.clone() }]),
        (true, several) => {
            let what = format!("there are several targets ({})", listed(several));
            reader.missing("routes", Complaint::new(what, "add [[routes]] that say what goes where"));
            None
        }
        (false, targets) => {
            let routes: Vec<_> = entries.into_iter().map(|entry| route(reader, entry, targets)).collect();
            routes.into_iter().collect()
        }
    }
}

fn route(reader: &mut Reader, entry: Entry, targets: &[String]) -> Option<Route> {
    let mut section = entry.table(reader)?;
    // A missing filter is fine; a wrong one is not.
    let unit = section.take(reader, "unit").map_or(Some(None), |entry| unit(reader, entry).map(Some));
    let recipient =
        section.take(reader, "recipient").map_or(Some(None), |entry| entry.word(reader, &RECIPIENTS).map(Some));
    let campaign =
        section.take(reader, "campaign").map_or(Some(None), |entry| entry.integer(reader, 1..=i64::MAX).map(Some));
    let target = section.take(reader, "target");
    if target.is_none() {
        let remedy = format!("a route needs a target, one of {}", listed(targets));
        reader.missing(&section.path_of("target"), Complaint::new("this is missing", remedy));
    }
    let target = target.and_then(|entry| entry.checked(reader, |name| known_target(name, targets)));
    section.finish(reader);
    Some(Route { unit: unit?, recipient: recipient?, campaign: campaign?, target: target? })
}

fn known_target(name: &str, targets: &[String]) -> Result<String, Complaint> {
    if targets.iter().any(|target| target == name) {
        return Ok(name.to_owned());
    }
    let meant = suggest::did_you_mean(name, targets.iter().map(String::as_str));
    Err(Complaint::new(
        format!("there is no such target, only {}", listed(targets)),
        format!("correct the name, or add the target{meant}"),
    ))
}

fn listed(targets: &[String]) -> String {
    targets.iter().map(|name| shown(name)).collect::<Vec<_>>().join(", ")
}

/// Warns about routes that no reward can take, and targets that no route leads to. Both are valid, and probably mistakes.
fn warn_about_dead_routes(reader: &mut Reader, policy: &Policy, targets: &[String]) {
    let covers = |wide: &Route, narrow: &Route| {
        (wide.unit.is_none() || wide.unit == narrow.unit)
            && (wide.recipient.is_none() || wide.recipient == narrow.recipient)
            && (wide.campaign.is_none() || wide.campaign == narrow.campaign)
    };
    for (index, route) in policy.routes.iter().enumerate() {
        if let Some(earlier) = policy.routes[..index].iter().position(|earlier| covers(earlier, route)) {
            reader.warn(format!("routes[{index}] is never reached: routes[{earlier}] takes all that it would"));
        } else if route.unit.as_ref().is_some_and(|unit| !policy.units.contains(unit)) {
            reader.warn(format!("routes[{index}] is never reached: its unit is not in policy.units"));
        } else if route.campaign.is_some_and(|id| !policy.campaigns.is_empty() && !policy.campaigns.contains(&id)) {
            reader.warn(format!("routes[{index}] is never reached: its campaign is not in policy.campaigns"));
        }
    }
    for name in targets.iter().filter(|name| policy.routes.iter().all(|route| route.target != **name)) {
        reader.warn(format!("targets.{name} is never used: no route leads to it"));
    }
}
