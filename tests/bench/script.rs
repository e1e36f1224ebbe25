//! What makegood is measured against: the script that an engineer would write in an afternoon, and a plain download.
//!
//! The script lists what is unfulfilled, POSTs each reward, remembers it in a SQLite table, and marks it, one by one. Its table has
//! SQLite's defaults (a rollback journal, `synchronous=FULL`), its connections are kept open. It has none of makegood's promises:
//! after a crash between POST and INSERT it delivers twice, and it believes every answer.

use std::path::Path;

use anyhow::ensure;
use reqwest::Client;
use rusqlite::{Connection, OptionalExtension};
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::sandbox::{ACCOUNT_ID, API_KEY, BEARER};

const PER_PAGE: usize = 100;

/// Runs the script on this FirstPromoter, this endpoint and this file.
pub(crate) fn script(base_url: &str, target: &str, file: &Path) -> anyhow::Result<()> {
    let db = Connection::open(file)?;
    db.execute_batch(
        "CREATE TABLE IF NOT EXISTS delivered (id INTEGER PRIMARY KEY, key TEXT, at TEXT, marked INTEGER DEFAULT 0)",
    )?;
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let client = Client::new();
        let mut rows = Vec::new();
        for page in 1.. {
            let found: Vec<Value> = serde_json::from_slice(&listing(&client, base_url, page).await?)?;
            let is_last = found.len() < PER_PAGE;
            rows.extend(found);
            if is_last {
                break;
            }
        }
        for row in rows {
            deliver(&client, base_url, target, &db, &row).await?;
        }
        anyhow::Ok(())
    })
}

async fn deliver(client: &Client, base_url: &str, target: &str, db: &Connection, row: &Value) -> anyhow::Result<()> {
    let id = row["id"].as_i64().unwrap_or_default();
    let known: Option<i64> =
        db.query_row("SELECT id FROM delivered WHERE id = ?1", [id], |row| row.get(0)).optional()?;
    if known.is_none() {
        let key = format!("fp-{ACCOUNT_ID}-{id}");
        let promoter = &row["promoter_campaign"]["promoter"];
        let body = json!({
            "type": "reward.deliver", "key": key, "commission_id": id, "unit": row["unit"], "amount": row["amount"],
            "recipient": { "kind": "promoter", "id": promoter["id"], "email": promoter["email"] },
        });
        let post = client.post(target).bearer_auth(BEARER).header("webhook-id", &key);
        let answer = post.header("idempotency-key", format!("\"{key}\"")).json(&body).send().await?;
        ensure!(answer.status().is_success(), "the target said {}", answer.status());
        answer.bytes().await?;
        db.execute("INSERT INTO delivered (id, key, at) VALUES (?1, ?2, datetime('now'))", (id, key))?;
    }
    let post = client.post(format!("{base_url}/commissions/mark_fulfilled")).bearer_auth(API_KEY);
    let answer = post.header("account-id", ACCOUNT_ID).json(&json!({ "ids": [id] })).send().await?;
    ensure!(answer.status().is_success(), "FirstPromoter said {}", answer.status());
    answer.bytes().await?;
    db.execute("UPDATE delivered SET marked = 1 WHERE id = ?1", [id])?;
    Ok(())
}

async fn listing(client: &Client, base_url: &str, page: usize) -> anyhow::Result<Vec<u8>> {
    let query = [
        ("filters[status]", "approved".to_owned()),
        ("filters[fulfilled]", "no".to_owned()),
        ("per_page", PER_PAGE.to_string()),
        ("page", page.to_string()),
    ];
    let get = client.get(format!("{base_url}/commissions")).query(&query).bearer_auth(API_KEY);
    let answer = get.header("account-id", ACCOUNT_ID).send().await?;
    ensure!(answer.status().is_success(), "FirstPromoter said {}", answer.status());
    Ok(answer.bytes().await?.into())
}

/// Downloads the pages of the listing one after another, and looks at nothing in them but whether there is anything.
pub(crate) fn download(base_url: &str) -> anyhow::Result<()> {
    Builder::new_current_thread().enable_all().build()?.block_on(async {
        let client = Client::new();
        for page in 1.. {
            if listing(&client, base_url, page).await?.len() <= "[]".len() {
                break;
            }
        }
        anyhow::Ok(())
    })
}
