//! The origin of a value in the configuration, for messages.

use std::collections::BTreeMap;

use config::{Value, ValueKind};

/// More of a name than this helps nobody.
const LONGEST_SHOWN: usize = 64;

/// `FILE line 9` comes before `FILE line 10`.
pub(super) fn position(place: &str) -> (String, usize) {
    let (file, line) = place.rsplit_once(" line ").unwrap_or((place, ""));
    (file.to_owned(), line.parse().unwrap_or_default())
}

pub(super) type ValueOrText = (Option<String>, ValueKind);

/// The origin of a value. Merging loses the origin of tables: a table gets that of the first value inside.
pub(super) fn place_of(value: &Value) -> Option<String> {
    let mut places = Vec::new();
    all_places(value, &mut places);
    places.into_iter().next()
}

pub(super) fn all_places(value: &Value, found: &mut Vec<String>) {
    match (value.origin(), &value.kind) {
        (Some(origin), _) => found.push(origin.to_owned()),
        (None, ValueKind::Table(table)) => {
            let sorted: BTreeMap<_, _> = table.iter().collect();
            for value in sorted.into_values() {
                all_places(value, found);
            }
        }
        (None, _) => {}
    }
}

/// `section.key`
pub(super) fn path_of(section: &str, key: &str) -> String {
    if section.is_empty() { shown(key) } else { format!("{section}.{}", shown(key)) }
}

/// A name for a message: in quotes unless it is a plain word, and never long.
pub(super) fn shown(name: &str) -> String {
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if plain && name.len() <= LONGEST_SHOWN {
        return name.to_owned();
    }
    format!("\"{}\"", name.chars().take(LONGEST_SHOWN).collect::<String>().escape_debug())
}
