//! An open transaction on the ledger, with its author. Records what FirstPromoter says about a commission, and writes the
//! journal.

use std::cell::{Cell, RefCell};

use rusqlite::{OptionalExtension, Transaction, TransactionBehavior, named_params};

use super::{Facts, Ledger, LedgerError, PassId, Position, Reward, RewardState};
use crate::domain::{CommissionId, Timestamp, timestamp_text, upstream_timestamp_text};

/// The author of a change.
#[derive(Debug, Clone, Copy)]
pub struct Author<'a> {
    /// `journal.actor`: `makegood`, or the person who gave the command.
    pub actor: &'a str,
    /// The pass it belongs to, if any.
    pub pass_id: Option<PassId>,
    /// When.
    pub now: Timestamp,
}

/// An open transaction on the ledger. Nothing is on disk before [`Ledger::change`] returns.
#[derive(Debug)]
pub struct Change<'a> {
    tx: &'a Transaction<'a>,
    ledger: &'a Ledger,
    pub(super) author: Author<'a>,
    /// When its transaction got the lock.
    began_at: Timestamp,
    /// When FirstPromoter was asked: a reward counts as found owed from then, not from when that is written.
    found_at: Cell<Timestamp>,
    written: RefCell<Written>,
}

/// What a change has written. It is on disk only after the commit.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// The last journal entry of a delivery, by makegood or others: it must never be forgotten.
    pub(super) delivery: Option<Position>,
    /// The moves, in order.
    pub(super) moves: Vec<Move>,
}

/// A reward that moved. Logged after the commit.
#[derive(Debug)]
pub(super) struct Move {
    id: CommissionId,
    from: Option<RewardState>,
    to: RewardState,
    reason: String,
}

impl Move {
    /// Logs it. Before the commit the line could be a lie.
    pub(super) fn log(&self) {
        let Self { id, from, to, reason } = self;
        tracing::info!(
            commission.id = id.0,
            from = from.map(RewardState::as_str),
            to = to.as_str(),
            "commission {id}: {to}: {reason}"
        );
    }
}

impl Ledger {
    /// Makes changes in one transaction; none of them if `work` fails.
    pub fn change<T>(
        &self,
        author: Author<'_>,
        work: impl FnOnce(&Change<'_>) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let tx = self.begin()?;
        let change = Change::new(&tx, self, author, author.now);
        let done = work(&change)?;
        let written = change.into_written();
        self.run(|_| tx.commit())?;
        written.moves.iter().for_each(Move::log);
        // After the commit, so that the mark is never ahead of a sound ledger. Before the return, so that no request leaves
        // earlier.
        written.delivery.map_or(Ok(()), |position| self.advance_high_water_mark(&position))?;
        Ok(done)
    }

    /// A transaction that may write.
    pub(super) fn begin(&self) -> Result<Transaction<'_>, LedgerError> {
        self.patience.begin();
        Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate).map_err(|source| self.explain(source))
    }
}

impl<'a> Change<'a> {
    /// `began_at`: when `tx` had the lock.
    pub(super) fn new(tx: &'a Transaction<'a>, ledger: &'a Ledger, author: Author<'a>, began_at: Timestamp) -> Self {
        Self { tx, ledger, author, began_at, found_at: Cell::new(author.now), written: RefCell::default() }
    }

    pub(super) fn into_written(self) -> Written {
        self.written.into_inner()
    }
}

impl Change<'_> {
    /// When its transaction got the lock, for which it may have waited long. Where it shares the transaction with nobody, the
    /// author's time.
    pub fn began_at(&self) -> Timestamp {
        self.began_at
    }

    pub(super) fn found_at(&self) -> Timestamp {
        self.found_at.get()
    }

    /// Sets the time at which rewards count as found owed.
    pub fn is_found_at(&self, at: Timestamp) {
        self.found_at.set(at);
    }

    /// Records what FirstPromoter says now. Journals it where amount, unit or recipient differ.
    pub fn record_facts(&self, reward: &Reward, facts: &Facts) -> Result<(), LedgerError> {
        if reward.facts == *facts {
            return Ok(());
        }
        let state = reward.state.word();
        self.write_facts(reward.id, state, facts)?;
        match reward.facts.difference(facts) {
            Some(difference) => {
                self.journal(reward.id, Some(state), state, &format!("changed upstream before delivery: {difference}"))
            }
            None => Ok(()),
        }
    }

    pub(super) fn write_facts(&self, id: CommissionId, state: RewardState, facts: &Facts) -> Result<(), LedgerError> {
        let (promoter, referral) = (facts.promoter.as_ref(), facts.referral.as_ref());
        let (campaign, reward) = (facts.campaign.as_ref(), facts.reward.as_ref());
        let changed = self.sql(
            "UPDATE rewards SET unit = :unit, amount = :amount, recipient = :recipient, promoter_id = :promoter_id, \
             promoter_email = :promoter_email, promoter_name = :promoter_name, referral_id = :referral_id, \
             referral_email = :referral_email, referral_uid = :referral_uid, campaign_id = :campaign_id, campaign_name = :campaign_name, \
             reward_id = :reward_id, reward_name = :reward_name, approved_at = :approved_at, created_at = :created_at \
             WHERE commission_id = :id AND state = :state",
            named_params! {
                ":id": id.0, ":state": state.as_str(), ":unit": facts.unit.as_ref().map(crate::domain::Unit::as_str), ":amount": facts.amount,
                ":recipient": facts.recipient.map(crate::domain::RecipientKind::as_str),
                ":promoter_id": promoter.map(|it| it.id), ":promoter_email": promoter.and_then(|it| it.email.as_deref()),
                ":promoter_name": promoter.and_then(|it| it.name.as_deref()),
                ":referral_id": referral.map(|it| it.id), ":referral_email": referral.and_then(|it| it.email.as_deref()),
                ":referral_uid": referral.and_then(|it| it.uid.as_deref()),
                ":campaign_id": campaign.map(|it| it.id), ":campaign_name": campaign.and_then(|it| it.name.as_deref()),
                ":reward_id": reward.map(|it| it.id), ":reward_name": reward.and_then(|it| it.name.as_deref()),
                ":approved_at": facts.approved_at.map(upstream_timestamp_text),
                ":created_at": facts.created_at.map(upstream_timestamp_text),
            },
        )?;
        self.one(changed, id, state)
    }

    pub(super) fn journal(
        &self,
        id: CommissionId,
        from: Option<RewardState>,
        to: RewardState,
        reason: &str,
    ) -> Result<(), LedgerError> {
        self.sql(
            "INSERT INTO journal (commission_id, at, from_state, to_state, reason, actor, pass_id) \
             VALUES (:id, :at, :from, :to, :reason, :actor, :pass)",
            named_params! {
                ":id": id.0, ":at": timestamp_text(self.author.now), ":from": from.map(RewardState::as_str), ":to": to.as_str(),
                ":reason": reason, ":actor": self.author.actor, ":pass": self.author.pass_id,
            },
        )?;
        let mut written = self.written.borrow_mut();
        if matches!(to, RewardState::Delivering | RewardState::Delivered) {
            let journal = self.tx.last_insert_rowid();
            written.delivery = Some(Position { journal, at: timestamp_text(self.author.now) });
        }
        written.moves.push(Move { id, from, to, reason: reason.to_owned() });
        Ok(())
    }

    pub(super) fn sql(&self, sql: &str, params: &[(&str, &dyn rusqlite::ToSql)]) -> Result<usize, LedgerError> {
        self.tx
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params))
            .map_err(|source| self.ledger.explain(source))
    }

    pub(super) fn read<T>(&self, work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>) -> Result<T, LedgerError> {
        work(self.tx).map_err(|source| self.ledger.explain(source))
    }

    pub(super) fn one(&self, changed: usize, id: CommissionId, expected: RewardState) -> Result<(), LedgerError> {
        if changed == 1 { Ok(()) } else { Err(self.moved(id, expected)?) }
    }

    pub(super) fn moved(&self, id: CommissionId, expected: RewardState) -> Result<LedgerError, LedgerError> {
        let found: Option<String> = self.read(|tx| {
            tx.query_row("SELECT state FROM rewards WHERE commission_id = ?1", [id.0], |row| row.get(0)).optional()
        })?;
        Ok(LedgerError::Moved { id, expected, found: found.unwrap_or_else(|| "missing".to_owned()) })
    }
}
