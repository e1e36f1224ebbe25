//! Group commit: many deliveries of a pass write one by one, and share transactions on a thread of their own.
//!
//! A commit waits for the disk, and sometimes for somebody else's lock. Suppose sixteen deliveries are under way, and the
//! outcomes of ten arrive while one commit waits. Written one by one, they would wait for ten more commits. Here they become
//! one transaction, together with the intents of the deliveries that take the free places. Meanwhile the main thread goes on:
//! it feeds the watchdog and hears signals.
//!
//! Guarantees:
//! - [`Writer::change`] returns after the commit, and after the high-water mark has followed. So an intent is on disk before
//!   its request leaves.
//! - Each request is written completely or not at all, whatever happens to the others: each has a savepoint of its own.
//! - The caller logs a transition, after the commit.
//!
//! Assumptions: nothing else changes what the closures read, because they hold the write lock.

use std::{
    cell::{OnceCell, RefCell},
    sync::Arc,
    task::Poll,
    thread::{self, JoinHandle},
};

use rusqlite::Transaction;
use tokio::sync::{mpsc, oneshot};

use super::{
    Author, Change, Ledger, LedgerError, PassId,
    change::{Move, Written},
    soundness::Check,
};
use crate::domain::Timestamp;

/// The most in one transaction: nobody should hold a lock for long.
const TOGETHER_MAX: usize = 256;

/// Takes requests to write, and answers when they are committed.
pub struct Writer<'a> {
    ledger: &'a Ledger,
    way: Way<'a>,
    /// The check for damage that is under way.
    check: RefCell<Option<Check>>,
}

enum Way<'a> {
    /// The first request starts it: most passes deliver nothing.
    Thread(OnceCell<Thread>, fn() -> Timestamp),
    /// The first one that is polled writes for all that have asked. One thread, so that the order does not depend on chance.
    Here(RefCell<Vec<Box<dyn Ask>>>, Box<dyn Fn() -> Timestamp + 'a>),
}

impl<'a> Writer<'a> {
    /// A writer with a thread and a connection of its own.
    pub fn thread(ledger: &'a Ledger, now: fn() -> Timestamp) -> Self {
        if ledger.file.is_none() {
            return Self::here(ledger, now);
        }
        Self { ledger, way: Way::Thread(OnceCell::new(), now), check: RefCell::default() }
    }

    /// A writer whose thread has this connection.
    #[cfg(test)]
    pub(super) fn thread_with(ledger: &'a Ledger, second: Ledger, now: fn() -> Timestamp) -> Result<Self, LedgerError> {
        let way = Way::Thread(OnceCell::from(Thread::start(second, now)?), now);
        Ok(Self { ledger, way, check: RefCell::default() })
    }

    /// A writer on the caller's thread and connection, for the simulator and for ledgers in memory.
    pub fn here(ledger: &'a Ledger, now: impl Fn() -> Timestamp + 'a) -> Self {
        Self { ledger, way: Way::Here(RefCell::default(), Box::new(now)), check: RefCell::default() }
    }

    /// Begins to read the whole ledger for damage, where that has to be done before a delivery and is not under way. `ours`: a
    /// check by an earlier process does not count.
    pub fn begin_check(&self, now: Timestamp, ours: bool) -> Result<(), LedgerError> {
        if matches!(self.way, Way::Thread(..)) && self.check.borrow().is_none() && self.ledger.needs_check(now, ours) {
            *self.check.borrow_mut() = Some(self.ledger.begin_check(now)?);
        }
        Ok(())
    }

    /// Returns when the ledger is known to be sound. Call it before the first delivery.
    pub async fn checked(&self, now: Timestamp, ours: bool) -> Result<(), LedgerError> {
        self.begin_check(now, ours)?;
        let check = self.check.borrow_mut().take();
        match check {
            Some(check) => self.ledger.end_check(check).await,
            None if self.ledger.needs_check(now, ours) => self.ledger.check_now(now),
            None => Ok(()),
        }
    }

    /// Makes changes in a transaction that others may share. If `work` fails, none of its changes is made. If the transaction
    /// fails, or the mark cannot follow it, all who share it get the error ([`LedgerError::Shared`]).
    pub async fn change<T: Send + 'static>(
        &self,
        author: Author<'_>,
        work: impl FnOnce(&Change<'_>) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, LedgerError> {
        let (answer, answered) = oneshot::channel();
        let author = (author.actor.to_owned(), author.pass_id, author.now);
        let request = Box::new(Request { author, work: Some(work), done: None, answer });
        match &self.way {
            Way::Thread(thread, now) => {
                if thread.get().is_none() {
                    let started = Thread::start(self.ledger.second()?, *now)?;
                    let _there_was_none = thread.set(started);
                }
                let Some(thread) = thread.get() else {
                    return Err(LedgerError::WriterEnded { path: self.ledger.path.clone() });
                };
                thread.ask(request);
            }
            Way::Here(waiting, now) => {
                waiting.borrow_mut().push(request);
                yield_once().await;
                // Takes the requests of others along. Perhaps one of them has already written ours.
                let together = waiting.take();
                if !together.is_empty() {
                    self.ledger.change_together(together, now);
                }
            }
        }
        match answered.await {
            Ok((result, moves)) => {
                moves.iter().for_each(Move::log);
                result
            }
            Err(_) => Err(LedgerError::WriterEnded { path: self.ledger.path.clone() }),
        }
    }
}

/// Lets everything else that is ready run first.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Dropping it ends the thread after everything asked for is written.
#[derive(Debug)]
struct Thread {
    requests: Option<mpsc::UnboundedSender<Box<dyn Ask>>>,
    thread: Option<JoinHandle<()>>,
}

impl Thread {
    fn start(ledger: Ledger, now: fn() -> Timestamp) -> Result<Self, LedgerError> {
        let (requests, mut asked) = mpsc::unbounded_channel::<Box<dyn Ask>>();
        let path = ledger.path.clone();
        let work = move || {
            let mut together = Vec::new();
            while asked.blocking_recv_many(&mut together, TOGETHER_MAX) > 0 {
                ledger.change_together(std::mem::take(&mut together), &now);
            }
        };
        let thread = thread::Builder::new().name("ledger".to_owned()).spawn(work);
        let thread =
            thread.map_err(|source| LedgerError::File { doing: "start a thread that writes", path, source })?;
        Ok(Self { requests: Some(requests), thread: Some(thread) })
    }

    fn ask(&self, request: Box<dyn Ask>) {
        // If the thread has ended, the request is dropped, and its caller gets an error.
        let _ended = self.requests.as_ref().map(|requests| requests.send(request));
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.requests = None;
        // It panicked. Its callers got an error.
        let _panicked = self.thread.take().map(JoinHandle::join);
    }
}

/// The result of a request, and the moves to log.
type Answer<T> = (Result<T, LedgerError>, Vec<Move>);

/// Something to write, with any result.
trait Ask: Send + std::fmt::Debug {
    /// Makes its changes in this transaction; none if they must be taken back.
    fn write(&mut self, tx: &Transaction<'_>, ledger: &Ledger, began_at: Timestamp) -> Option<Written>;

    /// `moves` are committed. `failed`: the commit or the mark failed.
    fn answer(self: Box<Self>, moves: Vec<Move>, failed: Option<Arc<LedgerError>>);
}

struct Request<T, F> {
    author: (String, Option<PassId>, Timestamp),
    work: Option<F>,
    done: Option<Result<T, LedgerError>>,
    answer: oneshot::Sender<Answer<T>>,
}

impl<T, F> std::fmt::Debug for Request<T, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Request").field("author", &self.author).finish_non_exhaustive()
    }
}

impl<T, F> Ask for Request<T, F>
where
    T: Send,
    F: FnOnce(&Change<'_>) -> Result<T, LedgerError> + Send,
{
    fn write(&mut self, tx: &Transaction<'_>, ledger: &Ledger, began_at: Timestamp) -> Option<Written> {
        let (actor, pass_id, now) = &self.author;
        let change = Change::new(tx, ledger, Author { actor, pass_id: *pass_id, now: *now }, began_at);
        let done = self.work.take().map(|work| work(&change))?;
        let written = done.is_ok().then(|| change.into_written());
        self.done = Some(done);
        written
    }

    fn answer(self: Box<Self>, moves: Vec<Move>, failed: Option<Arc<LedgerError>>) {
        let result = match (self.done, failed) {
            // Its own error says more than the shared one.
            (Some(Err(error)), _) => Err(error),
            (_, Some(failed)) => Err(LedgerError::Shared(failed)),
            (Some(Ok(done)), None) => Ok(done),
            // Dropping the sender tells the caller.
            (None, None) => return,
        };
        // Nobody waits if the pass was dropped.
        let _nobody_waits = self.answer.send((result, moves));
    }
}

impl Ledger {
    /// Writes these in one transaction, each in a savepoint, and answers them.
    fn change_together(&self, mut requests: Vec<Box<dyn Ask>>, now: &dyn Fn() -> Timestamp) {
        let (written, failed) = match self.write_together(&mut requests, now) {
            Ok(written) => (written, None),
            Err(error) => (Vec::new(), Some(Arc::new(error))),
        };
        let last =
            written.iter().filter_map(|written| written.delivery.as_ref()).max_by_key(|position| position.journal);
        let unmarked = last.and_then(|position| self.advance_high_water_mark(position).err()).map(Arc::new);
        let mut written = written.into_iter();
        for request in requests {
            let Written { delivery, moves } = written.next().unwrap_or_default();
            // Only deliveries need the mark.
            let unmarked = unmarked.as_ref().filter(|_| delivery.is_some());
            request.answer(moves, failed.as_ref().or(unmarked).map(Arc::clone));
        }
    }

    /// The moves that are committed for each request. After an error there are none.
    fn write_together(
        &self,
        requests: &mut [Box<dyn Ask>],
        now: &dyn Fn() -> Timestamp,
    ) -> Result<Vec<Written>, LedgerError> {
        let tx = self.begin()?;
        let began_at = now();
        let mut all = Vec::with_capacity(requests.len());
        for request in requests.iter_mut() {
            self.run(|_| tx.execute_batch("SAVEPOINT request"))?;
            let written = request.write(&tx, self, began_at);
            if tx.is_autocommit() {
                return Err(self.taken_back());
            }
            let end = if written.is_some() { "RELEASE request" } else { "ROLLBACK TO request; RELEASE request" };
            self.run(|_| tx.execute_batch(end))?;
            all.push(written.unwrap_or_default());
        }
        self.run(|_| tx.commit())?;
        Ok(all)
    }

    /// SQLite takes back the whole transaction where a statement of it meets a disk that is full or fails. Suppose one of ten outcomes
    /// does: it knows its own error, and for the nine others it was the disk, too.
    fn taken_back(&self) -> LedgerError {
        let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
        self.explain(rusqlite::Error::SqliteFailure(error, Some("the transaction was taken back".to_owned())))
    }
}
