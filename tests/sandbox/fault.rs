//! What can go wrong with an answer, and when. The same faults serve both parties.
//!
//! A fault is data: tests assign a [`Script`] to an endpoint and read like `faults.mark = once(dropped().after_effect())`.
//! Errors in the meaning of an answer (ignored filters, marks that change nothing) are switches of FirstPromoter, not faults.

use std::{collections::VecDeque, time::Duration};

use super::http::Reply;

/// One fault: how the answer to one request goes wrong.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The wait before anything happens.
    pub delay: Duration,
    /// Whether the request takes effect.
    pub takes_effect: bool,
    /// The answer that the caller gets.
    pub answer: Answer,
}

/// The answer that the caller gets.
#[derive(Debug, Clone)]
pub enum Answer {
    /// The honest answer.
    Honest,
    /// This answer.
    Instead(Reply),
    /// The request's headers and body, quoted back with this status.
    Echo {
        status: u16,
        /// Whether it is quoted inside a JSON answer, or as plain text.
        json: bool,
        headers: Vec<(String, String)>,
    },
    /// No answer; the connection stays open.
    Silence,
    /// The connection is closed without a byte.
    Cut,
    /// The first half of the honest answer, with the `Content-Length` of that half: valid HTTP, broken JSON.
    Half,
    /// The first half of the honest answer, with the `Content-Length` of the whole. Then the connection is closed.
    Short,
    /// The whole honest answer, with half its `Content-Length`. The rest is garbage on the connection.
    Overlong,
    /// This many bytes of blanks (the beginning of valid JSON), streamed, without a `Content-Length`.
    Flood(u64),
    /// The honest answer, byte by byte, spread over this time.
    Drip(Duration),
}

impl Default for Fault {
    /// No fault: the honest answer at once.
    fn default() -> Self {
        Self { delay: Duration::ZERO, takes_effect: true, answer: Answer::Honest }
    }
}

impl Fault {
    const fn without_effect(answer: Answer) -> Self {
        Self { delay: Duration::ZERO, takes_effect: false, answer }
    }

    const fn with_effect(answer: Answer) -> Self {
        Self { delay: Duration::ZERO, takes_effect: true, answer }
    }

    /// The request has already taken effect when the answer goes wrong.
    pub fn after_effect(mut self) -> Self {
        self.takes_effect = true;
        self
    }

    /// Waits this long before anything happens.
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Adds a header to an answer of [`status`], [`page`], [`empty`] or [`echo`].
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Answer::Instead(Reply { headers, .. }) | Answer::Echo { headers, .. } = &mut self.answer {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Adds `Retry-After` in seconds; an HTTP date goes through [`Fault::header`].
    pub fn retry_after(self, seconds: u64) -> Self {
        self.header("retry-after", &seconds.to_string())
    }
}

/// This status with FirstPromoter's error body. As documented, 401 has no body.
pub fn status(status: u16) -> Fault {
    let reply = if status == 401 {
        Reply::empty(401)
    } else {
        Reply::json(
            status,
            &serde_json::json!({ "message": format!("Sandbox says {status}"), "code": "sandbox_fault" }),
        )
    };
    Fault::without_effect(Answer::Instead(reply))
}

/// This status with an HTML page, as proxies and load balancers send it. `page(200, ...)` is the worst case.
pub fn page(status: u16, title: &str) -> Fault {
    let html =
        format!("<!DOCTYPE html>\n<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n");
    Fault::without_effect(Answer::Instead(Reply::new(status, "text/html; charset=utf-8", html)))
}

/// This status with this body of text.
pub fn text(status: u16, body: &str) -> Fault {
    Fault::without_effect(Answer::Instead(Reply::new(status, "text/plain", body)))
}

/// This status without a body.
pub fn empty(status: u16) -> Fault {
    Fault::without_effect(Answer::Instead(Reply::empty(status)))
}

/// A redirect.
pub fn redirect(status: u16, location: &str) -> Fault {
    empty(status).header("location", location)
}

/// This status with the request quoted back as text, including its secrets.
pub fn echo(status: u16) -> Fault {
    Fault::without_effect(Answer::Echo { status, json: false, headers: Vec::new() })
}

/// The same, quoted inside a JSON answer.
pub fn echo_json(status: u16) -> Fault {
    Fault::without_effect(Answer::Echo { status, json: true, headers: Vec::new() })
}

/// Never answers.
pub fn hang() -> Fault {
    Fault::without_effect(Answer::Silence)
}

/// Closes the connection without a byte; with [`Fault::after_effect`], a lost reply.
pub fn dropped() -> Fault {
    Fault::without_effect(Answer::Cut)
}

/// The honest answer, late.
pub fn delayed(delay: Duration) -> Fault {
    Fault::default().delayed(delay)
}

/// Half of the honest answer; see [`Answer::Half`].
pub fn half() -> Fault {
    Fault::with_effect(Answer::Half)
}

/// The honest answer cut off; see [`Answer::Short`].
pub fn cut_short() -> Fault {
    Fault::with_effect(Answer::Short)
}

/// The honest answer with a length that is too small; see [`Answer::Overlong`].
pub fn overlong() -> Fault {
    Fault::with_effect(Answer::Overlong)
}

/// A 200 with this many megabytes of blanks.
pub fn flood(megabytes: u64) -> Fault {
    Fault::with_effect(Answer::Flood(megabytes << 20))
}

/// The honest answer, byte by byte.
pub fn drip(over: Duration) -> Fault {
    Fault::with_effect(Answer::Drip(over))
}

/// Assigns faults to requests, step by step. After the last step the answers are honest.
#[derive(Debug, Clone, Default)]
pub struct Script(VecDeque<(Option<u32>, Fault)>);

impl Script {
    /// Then the next `times` requests meet this one.
    pub fn then(mut self, times: u32, fault: Fault) -> Self {
        self.0.push_back((Some(times), fault));
        self
    }

    /// Then all requests meet this one.
    pub fn then_always(mut self, fault: Fault) -> Self {
        self.0.push_back((None, fault));
        self
    }

    /// The fault of the next request; none where the script is over.
    fn next(&mut self) -> Option<Fault> {
        loop {
            let (left, fault) = self.0.front_mut()?;
            match left {
                None => return Some(fault.clone()),
                Some(0) => drop(self.0.pop_front()),
                Some(left) => {
                    *left -= 1;
                    return Some(fault.clone());
                }
            }
        }
    }
}

/// All requests meet this fault, until a test assigns another script.
pub fn always(fault: Fault) -> Script {
    Script::default().then_always(fault)
}

/// The next request meets this fault.
pub fn once(fault: Fault) -> Script {
    next(1, fault)
}

/// The next `times` requests meet this fault.
pub fn next(times: u32, fault: Fault) -> Script {
    Script::default().then(times, fault)
}

/// The next `times` requests meet no fault.
pub fn honest(times: u32) -> Script {
    next(times, Fault::default())
}

/// No fault.
pub fn never() -> Script {
    Script::default()
}

/// The fault of the first script that is not over. Only that script moves on.
pub fn first_of<'a>(scripts: impl IntoIterator<Item = &'a mut Script>) -> Fault {
    scripts.into_iter().find_map(Script::next).unwrap_or_default()
}
