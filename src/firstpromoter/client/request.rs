//! The headers and parameters of a request, and its name in errors and logs.

use reqwest::header::{self, HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::{BODY_MAX, ClientError};
use crate::{
    config::FirstPromoterSettings,
    domain::CommissionId,
    firstpromoter::{ApiError, CommissionQuery, error::AttemptFailure},
};

pub(super) fn headers(settings: &FirstPromoterSettings, api_key: &SecretString) -> Result<HeaderMap, ClientError> {
    let bearer = format!("Bearer {}", api_key.expose_secret());
    let mut bearer = HeaderValue::from_str(&bearer).map_err(|_| ClientError::ApiKey)?;
    bearer.set_sensitive(true);
    let mut account = HeaderValue::from_str(&settings.account_id).map_err(|_| ClientError::AccountId)?;
    account.set_sensitive(true);
    Ok(HeaderMap::from_iter([
        (header::AUTHORIZATION, bearer),
        (HeaderName::from_static("account-id"), account),
        (header::ACCEPT, HeaderValue::from_static("application/json")),
    ]))
}

/// The query string, in the form of the OpenAPI.
pub(super) fn parameters(query: &CommissionQuery) -> Vec<(&'static str, String)> {
    let mut parameters: Vec<_> = query.ids.iter().map(|id| ("ids[]", id.to_string())).collect();
    if query.approved_only {
        parameters.push(("filters[status]", "approved".to_owned()));
    }
    if let Some(fulfilled) = query.fulfilled {
        parameters.push(("filters[fulfilled]", if fulfilled { "yes" } else { "no" }.to_owned()));
    }
    if query.ids.is_empty() {
        // Oldest first. A commission that is created while we read comes last and shifts no page.
        parameters.push(("sorting[created_at]", "asc".to_owned()));
    }
    parameters.push(("page", query.page.to_string()));
    parameters.push(("per_page", query.per_page.to_string()));
    parameters
}

pub(super) fn describe(query: &CommissionQuery) -> String {
    let ids = if query.ids.is_empty() { String::new() } else { format!(" for {}", counted(&query.ids)) };
    let fulfilled = match query.fulfilled {
        Some(true) => " fulfilled=yes",
        Some(false) => " fulfilled=no",
        None => "",
    };
    format!("GET /commissions{ids}{fulfilled} page {}", query.page)
}

pub(super) fn counted(ids: &[CommissionId]) -> String {
    match ids {
        [one] => format!("commission {one}"),
        many => format!("{} commissions", many.len()),
    }
}

pub(super) fn too_long(what: &str, status: u16) -> AttemptFailure {
    AttemptFailure::Final(ApiError::Fatal {
        what: what.to_owned(),
        status: Some(status),
        detail: format!(
            "the answer is longer than {} MiB and was not read; check firstpromoter.base_url",
            BODY_MAX / (1024 * 1024)
        ),
    })
}
