//! The nearest valid word, for somebody who mistyped.

use super::origin::shown;

/// The candidate that `word` most probably meant, if one is near enough.
pub(super) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // 0.7 lets "graec" find "grace" and "retry_max" find nothing. On a tie the first in the caller's order wins.
    let mut best = None;
    for candidate in candidates {
        let likeness = strsim::jaro_winkler(&word.to_lowercase(), candidate);
        if likeness >= 0.7 && best.is_none_or(|(top, _)| likeness > top) {
            best = Some((likeness, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// `; did you mean "points"?`, or nothing.
pub(super) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|near| format!("; did you mean `{}`?", shown(near))).unwrap_or_default()
}

/// `a, b, c`
pub(super) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    words.into_iter().collect::<Vec<_>>().join(", ")
}
