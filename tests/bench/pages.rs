//! A FirstPromoter that lists very much: its pages are bytes that were written once, in which only the ids are changed.
//!
//! The sandbox would take longer to write a million rows than makegood takes to read them. This one answers a listing, `ids[]` and
//! `GET /rewards`, believes everybody, and marks nothing.

use std::{
    io,
    net::Ipv4Addr,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    extract::Request,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};

use crate::sandbox::{BASE_PATH, Commission};

/// The id of every template: as long as every id.
pub(crate) const TEMPLATE_ID: i64 = 987_654_321;
/// The id of the first row.
const FIRST: usize = 500_000_000;
const PER_PAGE: usize = 100;
const RULES: &str = r#"[{"id":9,"name":"500 points per sale","is_promoter_reward":true}]"#;

/// What it lists.
struct Listing {
    /// How many rows.
    rows: usize,
    /// In turn, as JSON, with [`TEMPLATE_ID`].
    kinds: Vec<String>,
    /// A full page, and where each of its rows has its id.
    page: String,
    ids: Vec<Vec<usize>>,
}

impl Listing {
    fn new(rows: usize, kinds: &[Commission]) -> Self {
        let kinds: Vec<String> = kinds.iter().map(|kind| kind.wire(false).to_string()).collect();
        let mut listing = Self { rows, kinds, page: String::new(), ids: Vec::new() };
        listing.page = listing.written(0..PER_PAGE, |_| TEMPLATE_ID.to_string());
        let mut found: Vec<usize> =
            listing.page.match_indices(&TEMPLATE_ID.to_string()).map(|(place, _)| place).collect();
        for number in 0..PER_PAGE {
            let many = listing.kind(number).matches(&TEMPLATE_ID.to_string()).count();
            listing.ids.push(found.drain(..many).collect());
        }
        listing
    }

    fn kind(&self, number: usize) -> &str {
        &self.kinds[number % self.kinds.len()]
    }

    fn written(&self, numbers: impl Iterator<Item = usize>, id: impl Fn(usize) -> String) -> String {
        let rows: Vec<String> =
            numbers.map(|number| self.kind(number).replace(&TEMPLATE_ID.to_string(), &id(number))).collect();
        format!("[{}]", rows.join(","))
    }

    fn page(&self, page: usize) -> Vec<u8> {
        let from = page.saturating_sub(1) * PER_PAGE;
        let numbers = from.min(self.rows)..(from + PER_PAGE).min(self.rows);
        if numbers.len() < PER_PAGE {
            return self.written(numbers, |number| (FIRST + number).to_string()).into_bytes();
        }
        let mut bytes = self.page.clone().into_bytes();
        for (number, places) in numbers.zip(&self.ids) {
            let id = (FIRST + number).to_string();
            for place in places {
                bytes[*place..*place + id.len()].copy_from_slice(id.as_bytes());
            }
        }
        bytes
    }

    fn answer(&self, path: &str, query: &str) -> Option<Vec<u8>> {
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let value = |wanted: &str| pairs.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        let page = value("page").and_then(|page| page.parse().ok()).unwrap_or(1);
        match path {
            "/rewards" => Some(RULES.into()),
            // All are unfulfilled.
            "/commissions" if value("filters[fulfilled]") == Some("yes") => Some("[]".into()),
            "/commissions" if value("ids[]").is_some() => {
                let ids =
                    pairs.iter().filter(|(name, _)| name == "ids[]").filter_map(|(_, id)| id.parse::<usize>().ok());
                let mine: Range<usize> = FIRST..FIRST + self.rows;
                let numbers = ids.filter(|id| mine.contains(id)).map(|id| id - FIRST);
                let numbers = numbers.skip((page - 1) * PER_PAGE).take(PER_PAGE);
                Some(self.written(numbers, |number| (FIRST + number).to_string()).into_bytes())
            }
            "/commissions" => Some(self.page(page)),
            _ => None,
        }
    }
}

/// Answers until dropped.
pub(crate) struct Pages {
    base_url: String,
    requests: Arc<AtomicU64>,
    runtime: Option<Runtime>,
}

impl Pages {
    /// Lists so many rows of these kinds, in turn.
    pub(crate) fn start(rows: usize, kinds: &[Commission]) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let base_url = format!("http://{}{BASE_PATH}", listener.local_addr()?);
        let (listing, requests) = (Arc::new(Listing::new(rows, kinds)), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&requests);
        let app = Router::new().fallback(move |request: Request| {
            counted.fetch_add(1, Ordering::Relaxed);
            let uri = request.uri();
            let path = uri.path().strip_prefix(BASE_PATH).unwrap_or_default();
            let answer = listing.answer(path, uri.query().unwrap_or_default());
            async { respond(answer) }
        });
        runtime.spawn(async { axum::serve(listener, app).await });
        Ok(Self { base_url, requests, runtime: Some(runtime) })
    }

    /// For `firstpromoter.base_url`.
    pub(crate) fn base_url(&self) -> &str {
        &self.base_url
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn respond(answer: Option<Vec<u8>>) -> Response {
    match answer {
        Some(json) => ([(CONTENT_TYPE, "application/json; charset=utf-8")], json).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}
